//! The end of a round: what is left is waited for, and judged.

use std::net::SocketAddr;
use std::process::ExitStatus;
use std::sync::MutexGuard;
use std::time::{Duration, Instant};

use futures::future::join_all;
use smol::Timer;
use smol::future::FutureExt;

use super::Round;
use crate::client::{ClientJournal, ConnectionJournal, End, owed};
use crate::procfs::{self, Disposition};
use crate::server;
use crate::setup::Failure;
use crate::sockets;
use crate::verdict::{RoundResult, tell};

/// How long clients wait once the server is gone: all that they can still see is there.
const AFTERWARDS: Duration = Duration::from_secs(5);

/// How long a server that was just told to stop may still listen, to empty its queue.
const SWEEPING: Duration = Duration::from_secs(1);

impl Round {
    /// Waits for the end of all clients, takes them out of the round, and returns what
    /// they noted.
    pub(crate) async fn halt(
        &mut self,
        patience: Duration,
    ) -> Vec<(usize, &'static str, MutexGuard<'_, ClientJournal>)> {
        self.finish_clients(patience).await;
        self.halted = std::mem::take(&mut self.entries);
        let halted = self.halted.iter();
        halted.map(|e| (e.id, e.kind, e.journal.lock())).collect()
    }

    /// Waits for the end of the server and of the clients, and judges.
    ///
    /// # Errors
    /// The stop command failed.
    pub(crate) async fn settle(
        &mut self,
        from: Instant,
        limit: Duration,
    ) -> Result<RoundResult, Failure> {
        let mut result = RoundResult::default();
        let left = limit.saturating_sub(from.elapsed());
        let ended = self.server.ended_within(left).await;
        if let Some(failure) = self.server.stop_failure() {
            return Err(failure);
        }
        self.gone_sender = None;
        if ended.is_some() {
            self.note_survivors();
        }
        let patience = match ended {
            Some(_) => AFTERWARDS,
            None => Duration::ZERO,
        };
        self.finish_clients(patience).await;
        match ended {
            Some(at) => result.stop = Some(at.saturating_duration_since(from)),
            None => {
                let limit = humantime::format_duration(limit);
                let signal = self.server.stop_name();
                result.convict(format!("the server did not end within {limit} of {signal}"));
            }
        }
        self.judge_clients(&mut result, from);
        result.note_cut();
        result.trace.close(result.stop);
        self.note_wrapper(ended.is_some()).await;
        if ended.is_none() {
            self.note_ignored();
            self.server.kill();
        }
        self.judge_status(&mut result, ended.is_some());
        for note in self.notes.drain(..) {
            if !result.notes.contains(&note) {
                result.notes.push(note);
            }
        }
        Ok(result)
    }

    /// After a restart: goes on with the process that has taken the place of the
    /// server's, once that has ended.
    ///
    /// # Errors
    /// Another one serves, and cannot be found.
    pub(crate) async fn follow(&mut self, result: &mut RoundResult) -> Result<(), Failure> {
        let Some(main) = self.server.main_process() else {
            return Ok(());
        };
        let listens = |pids: &[i32]| pids.contains(&main);
        let has_handed_over = listens(&self.listeners)
            && self.server.listeners().is_some_and(|now| !listens(&now));
        if !has_handed_over && !self.server.has_ended() {
            return Ok(());
        }
        let limit = self.setup.limit;
        if self.server.ended_within(limit).await.is_none() {
            let limit = humantime::format_duration(limit);
            result.convict(format!(
                "process {main}, which another one has taken the place of, did not end within \
                 {limit}"
            ));
        }
        self.judge_status(result, true);
        if !self.server.follow() {
            let problem = "another process has taken its place, which cannot be found: check it \
                           with --start, --stop and --restart-command";
            return Err(Failure::Other(problem.to_owned()));
        }
        self.listeners = self.server.listeners().unwrap_or_default();
        self.note("another process has taken its place, whose exit status cannot be known");
        Ok(())
    }

    fn judge_clients(&self, result: &mut RoundResult, from: Instant) {
        let signalled = self.signalled.unwrap_or(from);
        self.look_for_limit(result, signalled);
        for entry in &self.entries {
            let client = entry.journal.lock();
            result.judge(entry.id, entry.kind, &client, signalled);
            if self.setup.is_verbose {
                let told = client.past.iter().chain(&client.recent);
                let told = told.chain([&client.current]);
                let told = told.map(|c| tell(entry.id, entry.kind, c, signalled));
                result.stories.extend(told);
            }
        }
    }

    /// Looks after how many answers the server ended connections before the signal, and
    /// says so: such an end is no matter of the stop whenever it comes.
    fn look_for_limit(&self, result: &mut RoundResult, signalled: Instant) {
        let clients: Vec<_> = self.entries.iter().map(|e| e.journal.lock()).collect();
        let connections = clients.iter().flat_map(|client| {
            let earlier = client.past.iter().chain(&client.recent);
            earlier.chain([&client.current])
        });
        result.answer_limit = owed::answer_limit(connections, signalled);
        if let Some(limit) = result.answer_limit {
            let word = if limit == 1 { "answer" } else { "answers" };
            result.notes.push(format!(
                "it ends connections while nothing is stopped, too, after {limit} {word}"
            ));
        }
    }

    /// Convicts a server that crashed, and notes another status than that of success.
    pub(crate) fn judge_status(&mut self, result: &mut RoundResult, has_ended: bool) {
        let Some(status) = self.server.status().filter(|_| has_ended) else {
            return;
        };
        if server::crash(status).is_some() {
            result.convict(format!("the server crashed: {status}"));
        } else if !status.success() {
            self.note(ended_with(status));
        }
    }

    /// Notes that the process that was started has ended while other processes of the
    /// server still owe answers. A container kills them then.
    fn note_survivors(&mut self) {
        let journals = self.entries.iter().map(|entry| entry.journal.lock());
        let is_waiting =
            |client: &ConnectionJournal| client.end == End::Open && client.is_waiting();
        let waiting = journals.filter(|client| is_waiting(&client.current));
        let waiting: Vec<_> = waiting.map(|client| client.current.local).collect();
        if waiting.is_empty() {
            return;
        }
        let main = self.server.main_process();
        let mut others = self.server.processes().unwrap_or_default();
        others.retain(|pid| Some(*pid) != main);
        if others.is_empty() {
            return;
        }
        let signal = self.server.stop_name();
        let clients: Vec<SocketAddr> = waiting.into_iter().flatten().collect();
        let rest = "in a container it would have been killed";
        let ended = format!("{signal} ended the process that was started while");
        if let Some(server) = self.holders(&clients, &others) {
            self.note(format!("{ended} {server} still had to answer: {rest}"));
        } else if let Some(others) = few(&others) {
            self.note(format!(
                "{ended} clients still waited, and other processes of it ({others}) lived on: \
                 {rest}"
            ));
        }
    }

    /// Names the processes that have the clients' connections or, if there are none, those
    /// that have the listening socket. Returns `None` if they are not known.
    fn holders(&self, clients: &[SocketAddr], among: &[i32]) -> Option<String> {
        let server = self.server.address;
        let mut holders = sockets::serving(server, clients, among).unwrap_or_default();
        if holders.is_empty() {
            holders = sockets::listeners(server, among).unwrap_or_default();
        }
        few(&holders)
    }

    /// Says so if the process that got the signal ignores it.
    fn note_ignored(&mut self) {
        let signal = self.server.stop_name();
        let main = self.server.main_process();
        let number = self.setup.signal.number();
        if let Some(main) = main
            && procfs::disposition(main, number) == Some(Disposition::Ignored)
            && let Some(name) = procfs::names(&[main])
        {
            self.note(format!(
                "{name} ignores {signal}: --signal has to name what stops it"
            ));
        }
    }

    /// Says so if the process that got the signal is not the one that serves, and that one
    /// still listens: a server to which the signal was passed on does not.
    async fn note_wrapper(&mut self, has_ended: bool) {
        let Some(main) = self.server.main_process() else {
            return;
        };
        if self.listeners.contains(&main) {
            return;
        }
        let Some(serving) = self.listening_on().await else {
            return;
        };
        let signal = self.server.stop_name();
        let name = |pid: i32| procfs::names(&[pid]).unwrap_or_default();
        let server = name(serving);
        let catches =
            procfs::disposition(main, self.setup.signal.number()) == Some(Disposition::Caught);
        let before = match has_ended {
            true => format!("{signal} ended the process that was started"),
            false => format!("{signal} was sent to {}", name(main)),
        };
        // It means to pass the signal on, so that advice to do so says nothing.
        let cure = match catches && !has_ended {
            true => {
                "the first one catches the signal and has not passed it on; a shell runs a trap \
                 only when its command in the foreground has ended, so start the server with & \
                 and wait for it; a master can miss a signal that comes while it starts"
            }
            false => "a wrapper has to exec the server or pass the signal on",
        };
        self.note(format!(
            "{before}, and {server}, which serves, still listens: {cure}"
        ));
    }

    /// Returns a process that serves and goes on to listen.
    async fn listening_on(&self) -> Option<i32> {
        let deadline = Instant::now() + SWEEPING;
        loop {
            let listening = self.server.listeners()?;
            let is_listening = |pid: &&i32| listening.contains(pid);
            let serving = *self.listeners.iter().find(is_listening)?;
            if Instant::now() >= deadline {
                return Some(serving);
            }
            Timer::after(Duration::from_millis(20)).await;
        }
    }

    async fn finish_clients(&mut self, patience: Duration) {
        let tasks: Vec<_> = self
            .entries
            .iter_mut()
            .filter_map(|e| e.task.take())
            .collect();
        let all = async {
            join_all(tasks).await;
        };
        let late = async {
            Timer::after(patience).await;
        };
        // What is late is dropped, and so cancelled: its journal stays open.
        all.or(late).await;
    }
}

/// Returns how a server ended, for people.
pub(crate) fn ended_with(status: ExitStatus) -> String {
    format!("it ended with {status}")
}

/// Returns the names and numbers of the first of some processes, for people; none where none
/// is there any more.
fn few(processes: &[i32]) -> Option<String> {
    const MOST: usize = 3;
    let first = processes.get(..MOST).unwrap_or(processes);
    let names = procfs::names(first)?;
    let others = processes.len() - first.len();
    Some(match others {
        0 => names,
        _ => format!("{names} and {others} more"),
    })
}
