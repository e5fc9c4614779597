//! `lameduck check`: starts any server, loads it, stops it, and says what its
//! clients lost. It sees the server only from outside.

mod args;
mod blocked;
mod chart;
mod check;
mod check_file;
mod client;
mod compare;
mod during;
mod fixture;
mod greeting;
mod h2;
mod interrupt;
mod latch;
mod limits;
mod manual;
mod options;
mod output;
mod procfs;
mod progress;
mod ready;
mod results;
mod round;
mod scenario;
mod self_test;
mod server;
mod setup;
mod signal;
#[cfg(target_os = "linux")]
mod sock_diag;
mod sockets;
mod stall;
mod table;
mod trace;
mod values;
mod verdict;

use std::io::Write;
use std::process::ExitCode;

use crate::args::Command;
use crate::interrupt::interruptible;
use crate::setup::Failure;

/// Something was lost.
const LOST: u8 = 1;

/// It could not run, or not to its end.
const FAILED: u8 = 2;

fn main() -> ExitCode {
    log_plainly();
    let args = match check_file::parse() {
        Ok(args) => args,
        Err(failure) => return fail(&failure),
    };
    if let Command::Fixture(options) = args.command {
        // A server like any other: its signals are its own.
        fixture::unblock(options.fault);
        return match smol::block_on(fixture::run(options)) {
            Ok(status) => ExitCode::from(status),
            Err(failure) => fail(&failure),
        };
    }
    if let Command::Blocked(options) = &args.command {
        return match blocked::run(options.signal, &options.command) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => fail(&failure),
        };
    }
    limits::raise();
    match smol::block_on(run(args.command)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(LOST),
        Err(failure) => fail(&failure),
    }
}

/// Makes the log print each message without the name of the module that it comes from.
fn log_plainly() {
    let filter = env_logger::Env::default().default_filter_or("warn");
    let mut builder = env_logger::Builder::from_env(filter);
    builder.format(|output, record| writeln!(output, "{}", plain(record)));
    builder.init();
}

fn plain(record: &log::Record<'_>) -> String {
    let level = match record.level() {
        log::Level::Error => "error",
        log::Level::Warn => "warning",
        log::Level::Info => "info",
        log::Level::Debug | log::Level::Trace => "debug",
    };
    format!("lameduck: {level}: {}", record.args())
}

fn fail(failure: &Failure) -> ExitCode {
    eprintln!("lameduck: {failure}");
    ExitCode::from(FAILED)
}

/// Whether nothing was lost.
async fn run(command: Command) -> Result<bool, Failure> {
    match command {
        Command::Check(options) => check::run(*options).await,
        Command::Compare(options) => compare::run(options).await,
        Command::During(options) => {
            interruptible(interrupt::COMMAND_STOPPED, during::run(*options)).await
        }
        Command::Completions { shell } => manual::completions(shell).map(|()| true),
        Command::Man { directory } => manual::man(directory.as_deref()).map(|()| true),
        Command::Schema { document } => {
            check::print(&results::schema::schema(document)?).map(|()| true)
        }
        Command::SelfTest(options) => {
            interruptible(interrupt::SERVER_STOPPED, self_test::run(options)).await
        }
        Command::Fixture(_) | Command::Blocked(_) => {
            Err(Failure::Other("it runs alone".to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_does_not_say_where_in_the_tool_it_is_given() {
        let mut record = log::Record::builder();
        record
            .level(log::Level::Warn)
            .target("lameduck::server::commands");
        let line = plain(&record.args(format_args!("it is still served")).build());
        assert_eq!(line, "lameduck: warning: it is still served");
    }
}
