//! The tasks of a simulation, and how they are interleaved.
//!
//! There is one thread. To find what only two processors can do to each other,
//! a poll of the server's tasks can be interrupted: where the task looks at the
//! gate or at the world, segments arrive, time goes on, a signal comes, and the
//! driver runs, as if another processor had done it. Which look it is, and what
//! happens there, are choices like all others.
//!
//! Only drivers run in the middle of another poll, and no handler: a handler
//! that holds a lock would wait for itself.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use super::rule::{Event, Verdict};
use super::trace::Entry;
use super::world::{Task, World};
use crate::runtimes::sim::Shared;
use crate::sync::plain::{Arc, Mutex, lock};

/// The number of looks of a poll among which one is chosen for an interruption.
const LOOKS: u32 = 8;

/// A poll is interrupted at each of its looks once in so many times.
const ONE_IN: u32 = 48;

/// The longest interruption.
const LONGEST: Duration = Duration::from_millis(1);

/// The tasks that can run, in the order of their wake-ups.
#[derive(Debug, Default)]
pub(super) struct Ready {
    woken: Vec<usize>,
}

impl Ready {
    pub(super) fn wake(&mut self, task: usize) {
        if !self.woken.contains(&task) {
            self.woken.push(task);
        }
    }

    /// Takes a task off the list; returns whether it was there.
    fn take(&mut self, task: usize) -> bool {
        let place = self.woken.iter().position(|woken| *woken == task);
        place.map(|place| self.woken.remove(place)).is_some()
    }
}

struct TaskWaker {
    task: usize,
    ready: Arc<Mutex<Ready>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        lock(&self.ready).wake(self.task);
    }
}

/// The driver of a server: the one task that can run in the middle of another
/// task's poll. `task` is `None` while it is polled, and once it has ended.
pub(super) struct Driver {
    id: usize,
    waker: Waker,
    task: Option<Task>,
}

type LocalTask = Pin<Box<dyn Future<Output = ()>>>;

enum Slot {
    Vacant,
    /// A task of a client, or of the scenario: it stands for another machine.
    Client(LocalTask),
    /// A task that the server has spawned.
    Server(Task),
    /// A driver, which the world has.
    Driver,
}

/// All tasks of a simulation.
pub(super) struct Executor {
    world: Shared,
    slots: Vec<Slot>,
    wakers: Vec<Arc<TaskWaker>>,
    vacant: Vec<usize>,
    ready: Arc<Mutex<Ready>>,
}

impl Executor {
    pub(super) fn new(world: Shared, ready: Arc<Mutex<Ready>>) -> Executor {
        Executor {
            world,
            slots: Vec::new(),
            wakers: Vec::new(),
            vacant: Vec::new(),
            ready,
        }
    }

    fn vacant_slot(&mut self) -> usize {
        self.vacant.pop().unwrap_or_else(|| {
            let task = self.slots.len();
            let ready = self.ready.clone();
            self.wakers.push(Arc::new(TaskWaker { task, ready }));
            self.slots.push(Slot::Vacant);
            task
        })
    }

    fn insert(&mut self, slot: Slot) {
        let id = self.vacant_slot();
        self.slots[id] = slot;
        lock(&self.ready).wake(id);
    }

    pub(super) fn spawn_client(&mut self, task: impl Future<Output = ()> + 'static) {
        self.insert(Slot::Client(Box::pin(task)));
    }

    pub(super) fn spawn_driver(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        let id = self.vacant_slot();
        self.slots[id] = Slot::Driver;
        let driver = Driver {
            id,
            waker: self.wakers[id].clone().into(),
            task: Some(Box::pin(task)),
        };
        lock(&self.world).drivers.push(driver);
        lock(&self.ready).wake(id);
    }

    /// Drops all tasks.
    pub(super) fn clear(&mut self) {
        self.slots.clear();
        let drivers = std::mem::take(&mut lock(&self.world).drivers);
        let spawned = std::mem::take(&mut lock(&self.world).spawned);
        drop((drivers, spawned));
    }

    /// Lets one thing happen, if it comes at `until` or earlier: a task runs, or
    /// the clock goes on. Returns false when nothing can happen.
    pub(super) fn step_until(&mut self, until: Duration) -> bool {
        let mut world = lock(&self.world);
        let due = world.next_at();
        let mut ready = lock(&self.ready);
        let can_run = ready.woken.len() as u32;
        let is_due = due.is_some_and(|at| at <= world.now);
        // The tasks that can run, and what is due by now, come in any order.
        let chosen = world.choices.choose(can_run + u32::from(is_due));
        if chosen < can_run {
            let task = ready.woken.remove(chosen as usize);
            drop((ready, world));
            self.poll_woken(task);
            return true;
        }
        drop(ready);
        let happened = due.is_some_and(|at| at <= until) && world.run_next();
        let woken = std::mem::take(&mut world.woken);
        drop(world);
        for task in woken {
            self.poll(task);
        }
        happened
    }

    /// Lets time pass in which no task of the server runs, while its system and
    /// its clients go on.
    pub(super) fn freeze(&mut self, by: Duration) {
        let mut world = lock(&self.world);
        world.log(Entry::Frozen(by));
        let began_at = world.now;
        let until = began_at + by;
        drop(world);
        loop {
            let client = {
                let mut ready = lock(&self.ready);
                let is_client = |task: &usize| matches!(self.slots[*task], Slot::Client(_));
                let client = ready.woken.iter().copied().find(is_client);
                client.filter(|client| ready.take(*client))
            };
            let mut world = lock(&self.world);
            if let (Some(client), true) = (client, world.now <= until) {
                drop(world);
                self.poll(client);
            } else if world.next_at().is_some_and(|at| at <= until) {
                world.run_next();
                for task in std::mem::take(&mut world.woken) {
                    world.wake_task(task);
                }
            } else {
                world.now = world.now.max(until);
                world.note_freeze(began_at);
                client.iter().for_each(|client| world.wake_task(*client));
                return;
            }
        }
    }

    /// Polls a task that was woken, unless a rule says otherwise.
    fn poll_woken(&mut self, task: usize) {
        let mut world = lock(&self.world);
        let verdict = world.ask_rules(Event::Wake);
        if let Verdict::Delay(by) = verdict {
            world.wake_later(task, by);
            return;
        }
        drop(world);
        self.poll(task);
        if verdict == Verdict::Twice {
            self.poll(task);
        }
    }

    fn poll(&mut self, id: usize) {
        {
            let mut world = lock(&self.world);
            let cost = world.settings.poll_cost;
            world.now += cost;
        }
        let waker = Waker::from(self.wakers[id].clone());
        let mut cx = Context::from_waker(&waker);
        match std::mem::replace(&mut self.slots[id], Slot::Vacant) {
            // It has ended, and was woken once more.
            Slot::Vacant => return,
            Slot::Client(mut task) => {
                if task.as_mut().poll(&mut cx).is_ready() {
                    self.vacant.push(id);
                } else {
                    self.slots[id] = Slot::Client(task);
                }
            }
            Slot::Server(mut task) => {
                let looks = Looks::plan(&self.world, false);
                let ended = task.as_mut().poll(&mut cx).is_ready();
                drop(looks);
                if ended {
                    self.vacant.push(id);
                } else {
                    self.slots[id] = Slot::Server(task);
                }
            }
            Slot::Driver => {
                self.slots[id] = Slot::Driver;
                let looks = Looks::plan(&self.world, true);
                poll_driver(&self.world, id);
                drop(looks);
            }
        }
        let spawned = std::mem::take(&mut lock(&self.world).spawned);
        for task in spawned {
            self.insert(Slot::Server(task));
        }
    }
}

fn poll_driver(world: &Shared, id: usize) {
    let taken = {
        let mut world = lock(world);
        let driver = world.drivers.iter_mut().find(|driver| driver.id == id);
        driver.and_then(|driver| Some((driver.task.take()?, driver.waker.clone())))
    };
    let Some((mut task, waker)) = taken else {
        return;
    };
    if task
        .as_mut()
        .poll(&mut Context::from_waker(&waker))
        .is_pending()
    {
        let mut world = lock(world);
        if let Some(driver) = world.drivers.iter_mut().find(|driver| driver.id == id) {
            driver.task = Some(task);
        }
    }
}

thread_local! {
    /// The number of looks until the interruption; 0 for none.
    static LOOKS_LEFT: Cell<u32> = const { Cell::new(0) };
    /// The world of the task that is polled, if it can be interrupted.
    static POLLED_IN: RefCell<Option<Shared>> = const { RefCell::new(None) };
}

/// The looks of one poll; the interruption is called off when it is over.
struct Looks;

impl Looks {
    fn plan(shared: &Shared, is_driver: bool) -> Looks {
        let mut world = lock(shared);
        let looks = if !world.settings.interruptions {
            0
        } else if world.signal_in_poll.is_some() && !is_driver {
            1 + world.choices.choose(LOOKS)
        } else if world.can_be_interrupted() {
            world.choices.choose(ONE_IN)
        } else {
            0
        };
        if looks > 0 {
            POLLED_IN.set(Some(shared.clone()));
            LOOKS_LEFT.set(looks);
        }
        Looks
    }
}

impl Drop for Looks {
    fn drop(&mut self) {
        LOOKS_LEFT.set(0);
        POLLED_IN.set(None);
    }
}

/// Called before each look of the server at the gate or at the world: the
/// place where an interruption comes.
#[inline]
pub(crate) fn look() {
    let left = LOOKS_LEFT.get();
    if left > 0 {
        LOOKS_LEFT.set(left - 1);
        if left == 1 {
            interrupt();
        }
    }
}

/// What another processor does meanwhile.
#[cold]
fn interrupt() {
    if std::thread::panicking() {
        return;
    }
    let Some(shared) = POLLED_IN.take() else {
        return;
    };
    let mut world = lock(&shared);
    world.log(Entry::Interrupted);
    let until = world.soon();
    let (before, after) = (world.choices.choose(4), world.choices.choose(4));
    let signal = world.signal_in_poll.take();
    drop(world);
    let has_signal = signal.is_some();
    for _ in 0..before + u32::from(!has_signal) {
        step_elsewhere(&shared, until);
    }
    if let Some(signal) = signal {
        lock(&shared).signal(signal);
    }
    for _ in 0..after + u32::from(has_signal) {
        step_elsewhere(&shared, until);
    }
    lock(&shared).log(Entry::Resumed);
}

/// A step of the driver, or the next thing that is scheduled.
fn step_elsewhere(shared: &Shared, until: Duration) {
    let mut world = lock(shared);
    let driver = world.ready_driver();
    let is_due = world.next_at().is_some_and(|at| at <= until);
    let chosen = world
        .choices
        .choose(u32::from(driver.is_some()) + u32::from(is_due));
    if let (Some(driver), 0) = (driver, chosen) {
        lock(&world.ready).take(driver);
        if let Verdict::Delay(by) = world.ask_rules(Event::Wake) {
            world.wake_later(driver, by);
            return;
        }
        drop(world);
        poll_driver(shared, driver);
    } else if is_due {
        world.run_next();
        for task in std::mem::take(&mut world.woken) {
            world.wake_task(task);
        }
    }
}

impl World {
    fn can_be_interrupted(&self) -> bool {
        let is_due = self.next_at().is_some_and(|at| at <= self.soon());
        is_due || self.ready_driver().is_some()
    }

    /// Returns the latest end of an interruption that begins now.
    fn soon(&self) -> Duration {
        self.now + self.settings.latency.min(LONGEST) + self.settings.poll_cost
    }

    /// Returns a driver that was woken and is not being polled.
    fn ready_driver(&self) -> Option<usize> {
        let ready = lock(&self.ready);
        let can_run =
            |driver: &&Driver| driver.task.is_some() && ready.woken.contains(&driver.id);
        self.drivers.iter().find(can_run).map(|driver| driver.id)
    }
}
