//! The lifecycle's inputs a second; what the crate adds to a program and to the
//! time that it takes to build.

use std::error::Error;
use std::hint::black_box;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs};

use clap::Parser;
use lameduck::machine::lifecycle::{Config, Input, Lifecycle};
use lameduck_benches::args::Args;
use lameduck_benches::page::{Page, nanoseconds};
use lameduck_benches::stats::median;
use lameduck_benches::turns;

/// A whole stop.
const INPUTS: [Input; 3] = [
    Input::Stop,
    Input::ListenerClosed(0, Ok(())),
    Input::Emptied,
];

fn inputs(args: &Args) -> Page {
    let (rounds, stops) = if args.quick {
        (10, 10_000)
    } else {
        (50, 100_000)
    };
    let running = Lifecycle::new(Config::default(), 1, 0);
    let mut each = Vec::new();
    for _ in 0..rounds {
        let begun = Instant::now();
        for _ in 0..stops {
            let mut machine = running.clone();
            for input in black_box(INPUTS) {
                let _ = black_box(machine.handle(Duration::ZERO, input));
                while let Some(output) = machine.poll_output() {
                    black_box(output);
                }
            }
        }
        let inputs = (stops * INPUTS.len()) as f64;
        each.push(begun.elapsed().as_nanos() as f64 / inputs);
    }
    let each = median(&each);
    let mut page = Page::new("inputs", "The lifecycle", &["", "each", "a second"]);
    page.rows.push(vec![
        "an input, with all of its outputs".into(),
        nanoseconds(each),
        format!("{:.1} million", 1_000.0 / each),
    ]);
    page
}

/// What a program is without what only debuggers read.
fn stripped(programs: &Path, program: &str) -> io::Result<f64> {
    let copy = env::temp_dir().join(format!("lameduck-{}-{program}", std::process::id()));
    let strip = Command::new("strip")
        .arg("-o")
        .arg(&copy)
        .arg(programs.join(program))
        .status();
    let size = strip.and_then(|_| Ok(fs::metadata(&copy)?.len()));
    let _ = fs::remove_file(&copy);
    Ok(size? as f64 / 1024.0)
}

/// How long a release build of a library takes, with all that it needs.
fn build(manifest: &Path) -> Result<f64, Box<dyn Error>> {
    let folder = env::temp_dir().join(format!("lameduck-build-{}", std::process::id()));
    let begun = Instant::now();
    let built = Command::new(env!("CARGO"))
        .args(["build", "--release", "--lib", "--quiet", "--manifest-path"])
        .arg(manifest)
        .arg("--target-dir")
        .arg(&folder)
        .stderr(Stdio::inherit())
        .status();
    let seconds = begun.elapsed().as_secs_f64();
    let _ = fs::remove_dir_all(&folder);
    match built?.success() {
        true => Ok(seconds),
        false => Err(format!("{} cannot be built", manifest.display()).into()),
    }
}

/// A library that needs smol and nothing else.
fn bare_library() -> io::Result<std::path::PathBuf> {
    let folder = env::temp_dir().join(format!("lameduck-bare-{}", std::process::id()));
    fs::create_dir_all(folder.join("src"))?;
    fs::write(folder.join("src/lib.rs"), "pub use smol;\n")?;
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.lock");
    if lock.exists() {
        fs::copy(lock, folder.join("Cargo.lock"))?;
    }
    let manifest = "[package]\nname = \"bare\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
        [workspace]\n[dependencies]\nsmol = \"2\"\nfutures = { version = \"0.3\", \
        default-features = false, features = [\"std\"] }\n";
    fs::write(folder.join("Cargo.toml"), manifest)?;
    Ok(folder)
}

fn builds(args: &Args, programs: &Path) -> Result<Page, Box<dyn Error>> {
    let rounds = if args.quick { 1 } else { 3 };
    let bare = bare_library()?;
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    let (mut bare_times, mut our_times) = (Vec::new(), Vec::new());
    let bar = turns::progress("build", rounds);
    for _ in 0..rounds {
        bare_times.push(build(&bare.join("Cargo.toml"))?);
        our_times.push(build(&ours)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let _ = fs::remove_dir_all(&bare);
    let header = ["", "built in", "stripped echo server"];
    let mut page = Page::new("build", "What it adds to a program", &header);
    for (title, times, program) in [
        ("smol and futures", bare_times, "bare-smol"),
        ("lameduck, default features", our_times, "lameduck-smol"),
    ] {
        page.rows.push(vec![
            title.into(),
            format!("{:.1} s", median(&times)),
            format!("{:.0} KiB", stripped(programs, program)?),
        ]);
    }
    Ok(page)
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    if args.wants("inputs") {
        inputs(&args).publish(&args)?;
    }
    if args.wants("build") {
        let programs = turns::programs(env!("CARGO_BIN_EXE_counted"));
        builds(&args, &programs)?.publish(&args)?;
    }
    Ok(())
}
