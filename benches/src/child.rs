//! A server in a process of its own, seen from outside.

use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use procfs::process::Process;

use crate::http::{HttpKind, Transport, Version};
use crate::operations::pin_to;
use crate::servers::Kind;

/// Servers are on this core,
const SERVER_CORE: usize = 0;
/// and clients on this one.
const CLIENT_CORE: usize = 1;

/// Ended when it is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    clock: ClockId,
    pub address: SocketAddr,
}

impl Running {
    /// Starts a server and waits until it listens. `programs` is where it is.
    ///
    /// # Errors
    /// When it does not start, or ends.
    pub fn start(programs: &Path, kind: Kind) -> io::Result<Running> {
        let mut command = Command::new(programs.join(kind.program));
        if kind.privileged {
            command.arg("privileged");
        }
        Running::spawn(command)
    }

    /// The same, of a server that counts its allocations.
    ///
    /// # Errors
    /// When it does not start, or ends.
    pub fn counted(programs: &Path, kind: Kind) -> io::Result<Running> {
        let mut command = Command::new(programs.join("counted"));
        command.arg(kind.program);
        Running::spawn(command)
    }

    /// Starts an HTTP server and waits until it listens.
    ///
    /// # Errors
    /// When it does not start, or ends.
    pub fn http(programs: &Path, kind: HttpKind, how: &Transport) -> io::Result<Running> {
        let mut command = Command::new(programs.join("http"));
        command.arg(kind.title);
        command.arg(match how.version {
            Version::Http1 => "1",
            Version::Http2 => "2",
        });
        if let Some(files) = &how.tls {
            command.args([&files.certificate, &files.key]);
        }
        Running::spawn(command)
    }

    fn spawn(mut command: Command) -> io::Result<Running> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        // A child has its parent's core.
        pin_to(SERVER_CORE);
        let spawned = command.spawn();
        pin_to(CLIENT_CORE);
        let mut child = spawned?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (input, output) = pipes.ok_or_else(|| io::Error::other("no pipes"))?;
        let mut running = Running {
            clock: clock_getcpuclockid(Pid::from_raw(child.id().cast_signed()))?,
            child,
            input: Some(input),
            output: BufReader::new(output),
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        let port = running.number()?;
        running.address.set_port(port as u16);
        Ok(running)
    }

    fn number(&mut self) -> io::Result<u64> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        line.trim().parse().map_err(io::Error::other)
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// The processor time of all its threads, those that are gone as well.
    ///
    /// # Errors
    /// When it is gone.
    pub fn processor_time(&self) -> io::Result<Duration> {
        Ok(clock_gettime(self.clock)?.into())
    }

    /// What it has in memory, in bytes.
    ///
    /// # Errors
    /// When it is gone.
    pub fn resident(&self) -> io::Result<u64> {
        let process = Process::new(self.pid().as_raw()).map_err(io::Error::other)?;
        let status = process.status().map_err(io::Error::other)?;
        let kibibytes = status.vmrss.ok_or_else(|| io::Error::other("it is gone"))?;
        Ok(kibibytes * 1024)
    }

    /// How often it has allocated, of one that counts.
    ///
    /// # Errors
    /// When it is gone, or does not count.
    pub fn allocations(&mut self) -> io::Result<u64> {
        let input = self.input.as_mut();
        input.ok_or(io::ErrorKind::BrokenPipe)?.write_all(b"\n")?;
        self.number()
    }

    /// Asks it to stop, as a supervisor does.
    ///
    /// # Errors
    /// When it is gone.
    pub fn terminate(&self) -> io::Result<()> {
        Ok(kill(self.pid(), Signal::SIGTERM)?)
    }

    /// Readable when it is gone.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn end(&self) -> io::Result<OwnedFd> {
        let pid = rustix::process::Pid::from_child(&self.child);
        let flags = rustix::process::PidfdFlags::NONBLOCK;
        Ok(rustix::process::pidfd_open(pid, flags)?)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
