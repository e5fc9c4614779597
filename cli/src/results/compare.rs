//! The result of `compare`, as JSON.

use schemars::JsonSchema;
use serde::Serialize;

use super::VERSION;
use super::check::ScenarioDocument;

/// What `lameduck compare` found.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(title = "The result of lameduck compare")]
pub(crate) struct CompareDocument {
    /// What this document is: always `lameduck-compare`.
    #[schemars(extend("const" = "lameduck-compare"))]
    pub(crate) format: String,
    /// The version of the format.
    #[schemars(extend("const" = 1))]
    pub(crate) version: u32,
    /// The version of the tool.
    pub(crate) tool: String,
    /// What was left to chance follows from it: `--seed`.
    pub(crate) seed: u64,
    /// The servers, in the order of the file.
    pub(crate) servers: Vec<ServerDocument>,
}

/// One server.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct ServerDocument {
    /// Its name in the file.
    pub(crate) name: String,
    /// The command that started it.
    pub(crate) command: Vec<String>,
    /// What was spoken.
    pub(crate) protocol: String,
    /// The signal that stopped it.
    pub(crate) signal: String,
    /// The scenarios, in the order in which they ran.
    pub(crate) scenarios: Vec<ScenarioDocument>,
}

impl CompareDocument {
    pub(crate) fn new(seed: u64, servers: Vec<ServerDocument>) -> CompareDocument {
        CompareDocument {
            format: "lameduck-compare".to_owned(),
            version: VERSION,
            tool: env!("CARGO_PKG_VERSION").to_owned(),
            seed,
            servers,
        }
    }

    /// Leaves out what is large.
    pub(crate) fn without_events(mut self) -> CompareDocument {
        let scenarios = self.servers.iter_mut().flat_map(|s| &mut s.scenarios);
        scenarios.for_each(|scenario| scenario.trace = None);
        self
    }
}
