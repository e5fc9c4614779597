//! The words after `cargo bench --`, the same for each bench.

use clap::Parser;
use regex::Regex;

/// Measures what lameduck costs, beside its peers and beside nothing at all.
#[derive(Parser, Debug)]
pub struct Args {
    /// Only the rows whose name matches this regular expression
    pub filter: Option<Regex>,
    /// A few minutes for all, and less to rely on: prints, and writes no page
    #[arg(long)]
    pub quick: bool,
    /// Keep the results under a name (small rows: see criterion)
    #[arg(long, value_name = "NAME")]
    pub save_baseline: Option<String>,
    /// Compare with the results that were kept under a name
    #[arg(long, value_name = "NAME")]
    pub baseline: Option<String>,
    /// cargo says this to each bench
    #[arg(long, hide = true)]
    bench: bool,
}

impl Args {
    /// Whether a row of this name is asked for.
    pub fn wants(&self, name: &str) -> bool {
        self.filter
            .as_ref()
            .is_none_or(|filter| filter.is_match(name))
    }
}
