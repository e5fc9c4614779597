//! The machine that was measured on.

use std::process::Command;

use procfs::{CpuInfo, Current};

/// A line for the page: figures say little without it.
pub fn describe() -> String {
    let cpus = CpuInfo::current().ok();
    let model = cpus.as_ref().and_then(|cpus| cpus.model_name(0));
    let cores = cpus.as_ref().map_or(0, CpuInfo::num_cores);
    let kernel = nix::sys::utsname::uname();
    let kernel = kernel.map_or_else(
        |_| String::from("unknown"),
        |name| name.release().to_string_lossy().into_owned(),
    );
    format!(
        "Measured on {cores} cores of {}, Linux {kernel}, {}.\n",
        model.unwrap_or("an unknown processor"),
        rust_version()
    )
}

/// The compiler that is in use here, such as `rustc 1.95.0`.
pub fn rust_version() -> String {
    let version = Command::new("rustc").arg("--version").output();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let words = version.unwrap_or_default();
    words.split(' ').take(2).collect::<Vec<_>>().join(" ")
}
