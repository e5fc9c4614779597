//! The one after us, seen from its predecessor.

use std::future::Future;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::process::{Child, Command, ExitStatus};
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use command_fds::{CommandFdExt, FdMapping};
use futures_channel::oneshot;
use log::info;

use super::{
    CHANNEL, MARK_TAKEN, MSG_CANCEL, MSG_GO, MSG_READY, MSG_RESTART, MSG_SOLE_OWNER, Restart,
};
use crate::sync::plain::mpsc;

/// Which of the sockets the successor serves, or why there is none.
type Answer = Result<Vec<bool>, String>;

/// A process that is to serve in our place.
#[derive(Debug)]
pub(crate) struct Successor {
    channel: UnixStream,
    answer: oneshot::Receiver<Answer>,
    /// Disconnected once the process is ready, or was ended.
    supervised: mpsc::Receiver<()>,
    goes: bool,
}

impl Successor {
    /// Starts it, with these sockets and their names.
    pub(crate) fn start(
        restart: &Restart,
        sockets: Vec<(String, OwnedFd)>,
    ) -> io::Result<Successor> {
        let (channel, theirs) = UnixStream::pair()?;
        let reader = channel.try_clone()?;
        let (count, within) = (sockets.len(), restart.ready_within);
        let command = command(restart, sockets, theirs)?;
        let (tell, answer) = oneshot::channel();
        let (supervises, supervised) = mpsc::channel();
        let name = "lameduck-successor".to_owned();
        // Once in a long while: a thread is what every runtime has, and to
        // start a process and to wait for it both block.
        thread::Builder::new().name(name).spawn(move || {
            let child = supervise_child(command, reader, count, within, tell);
            drop(supervises);
            // If it ends before us, it is not to stay as a zombie.
            let _ = child.map(|mut child| child.wait());
        })?;
        Ok(Successor {
            channel,
            answer,
            supervised,
            goes: false,
        })
    }

    /// Whether it is ready; once.
    pub(crate) fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Answer> {
        let gone = "its thread is gone";
        let answer = Pin::new(&mut self.answer).poll(cx);
        answer.map(|answer| answer.unwrap_or_else(|_| Err(gone.to_owned())))
    }

    /// Lets it serve. From now on nothing brings us back.
    pub(crate) fn go(&mut self) -> io::Result<()> {
        self.channel.write_all(&[MSG_GO])?;
        self.goes = true;
        Ok(())
    }

    /// Passes a restart on: this process cannot begin it any more.
    pub(crate) fn pass_restart_on(&mut self) -> bool {
        self.goes && self.channel.write_all(&[MSG_RESTART]).is_ok()
    }

    /// Tells it that the sockets are its own: we have closed ours, and nobody
    /// else had them.
    pub(crate) fn notify_sole_owner(mut self) {
        // If it is gone, nobody wants to know.
        let _ = self.channel.write_all(&[MSG_SOLE_OWNER]);
    }
}

impl Drop for Successor {
    /// Calls off what has not come to its end.
    fn drop(&mut self) {
        if !self.goes {
            let _ = self.channel.write_all(&[MSG_CANCEL]);
            // Wakes the thread, which ends the process and waits for that.
            let _ = self.channel.shutdown(Shutdown::Both);
            self.answer.close();
            // This process may be about to end, and its threads with it: then
            // one that hears nothing would stay for ever, and hold our log.
            let _ = self.supervised.recv_timeout(LAST_WORDS);
        }
    }
}

fn command(
    restart: &Restart,
    sockets: Vec<(String, OwnedFd)>,
    channel: UnixStream,
) -> io::Result<Command> {
    let mut words = restart.command.iter();
    let program = words.next().ok_or(io::ErrorKind::InvalidInput)?;
    let (mut names, sockets): (Vec<_>, Vec<_>) = sockets.into_iter().unzip();
    names.push(CHANNEL.to_owned());
    let passed = sockets.into_iter().chain([channel.into()]);
    // sd_listen_fds(3): they begin behind the standard streams.
    let mappings = passed.zip(3..).map(|(parent_fd, child_fd)| FdMapping {
        parent_fd,
        child_fd,
    });
    let mut command = Command::new(program);
    command
        .args(words)
        .env("LISTEN_FDS", names.len().to_string())
        .env("LISTEN_FDNAMES", names.join(":"))
        // What names a process, or the descriptors of this one: a child that
        // believed it would find nothing (F53). They may be left out.
        .env_remove("LISTEN_PID")
        .env_remove("LISTEN_PIDFDID")
        .env_remove("LISTEN_FDS_FIRST_FD")
        .env_remove("WATCHDOG_PID")
        .fd_mappings(mappings.collect())
        .map_err(io::Error::other)?;
    Ok(command)
}

/// Looks after the process until it is ready; one that is not is ended.
fn supervise_child(
    mut command: Command,
    channel: UnixStream,
    sockets: usize,
    within: Duration,
    tell: oneshot::Sender<Answer>,
) -> Option<Child> {
    let spawned = command.spawn();
    // With it go our copies of all that the process inherits (F6).
    drop(command);
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => {
            let _ = tell.send(Err(format!("it cannot be started: {error}")));
            return None;
        }
    };
    info!("the successor is process {}", child.id());
    match await_ready(channel, sockets, within) {
        Ok(taken) => _ = tell.send(Ok(taken)),
        Err(why) => {
            // It has accepted nobody, so nobody is lost with it. One that has
            // ended by itself says why in its status.
            let status = end(&mut child, &tell).map_or(String::new(), |s| format!(" ({s})"));
            let _ = tell.send(Err(format!("{why}{status}")));
        }
    }
    Some(child)
}

/// The time that a process which has closed its channel has to end by itself:
/// it may be about to say why (F65).
const LAST_WORDS: Duration = Duration::from_secs(1);

fn end(child: &mut Child, tell: &oneshot::Sender<Answer>) -> io::Result<ExitStatus> {
    let begun = Instant::now();
    // Nobody waits for a successor that was cancelled.
    while begun.elapsed() < LAST_WORDS && !tell.is_canceled() {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        thread::sleep(Duration::from_millis(5));
    }
    let _ = child.kill();
    child.wait()
}

fn await_ready(channel: UnixStream, sockets: usize, within: Duration) -> Answer {
    let late = || format!("it was not ready within {within:?}, and was killed");
    let begun = Instant::now();
    let mut said = Vec::new();
    while said.last() != Some(&b'\n') && said.len() < MSG_READY.len() + sockets + 1 {
        let left = within.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return Err(late());
        }
        let mut word = [0];
        let read = channel.set_read_timeout(Some(left));
        match read.and_then(|()| (&channel).read(&mut word)) {
            Ok(0) => return Err("it ended before it was ready".to_owned()),
            Ok(_) => said.push(word[0]),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => return Err(late()),
                io::ErrorKind::Interrupted => {}
                _ => return Err(format!("it cannot be heard: {error}")),
            },
        }
    }
    let signs = said
        .strip_prefix(MSG_READY)
        .and_then(|signs| signs.get(..sockets));
    match signs {
        Some(signs) => Ok(signs.iter().map(|sign| *sign == MARK_TAKEN).collect()),
        None => Err("it does not speak as a server of this library".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures::executor::block_on;

    use super::*;
    use crate::signal::Signal;

    /// What a shell script that is no server comes to; its channel is
    /// descriptor 3.
    fn answer(script: &str, within: Duration) -> String {
        let restart = Restart::on(Signal::Hangup).command(["/bin/sh", "-c", script]);
        let restart = restart.ready_within(within);
        let mut successor = Successor::start(&restart, Vec::new()).unwrap();
        let answer = block_on(poll_fn(|cx| successor.poll_answer(cx)));
        answer.unwrap_err()
    }

    #[test]
    fn f42_a_successor_that_is_late_is_killed() {
        let why = answer("exec sleep 1000", Duration::from_millis(50));
        assert!(why.contains("not ready within 50ms"), "{why}");
        assert!(why.contains("signal: 9"), "{why}");
    }

    /// This process may end right after: nobody else would end that one.
    #[test]
    fn f42_a_successor_that_is_cancelled_is_gone_at_once() {
        let (mut held, theirs) = UnixStream::pair().unwrap();
        let restart = Restart::on(Signal::Hangup).command(["/bin/sleep", "1000"]);
        let sockets = vec![("held".to_owned(), OwnedFd::from(theirs))];
        let successor = Successor::start(&restart, sockets).unwrap();
        drop(successor);
        // The other end is closed with the process that had it, unless another test
        // forks at this moment: then it is soon.
        held.set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        assert_eq!(held.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn f42_a_successor_that_ends_or_babbles_is_none() {
        let long = Duration::from_secs(20);
        let why = answer("exit 3", long);
        assert!(
            why.contains("ended before it was ready (exit status: 3)"),
            "{why}"
        );
        let why = answer("echo hello there >&3; exec sleep 1000", long);
        assert!(why.contains("does not speak"), "{why}");
        let why = answer("echo 'ready' >&3; exec sleep 1000", long);
        assert!(why.contains("does not speak"), "{why}");
    }
}
