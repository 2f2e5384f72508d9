//! What the instances of an execution run in, and share: processes that are killed, a store that loses answers, a clock
//! that leaps.

use std::{
    collections::{BTreeMap, HashMap},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use shuttle::{
    future::JoinHandle,
    rand::{Rng, thread_rng},
};
use tokio::sync::oneshot;

use super::{
    super::entry::{Debt, Entry},
    LEASE,
    chain::Chain,
};
use crate::{
    payment::Payment,
    store::{ClaimStore, Key, Record, Stamp, StoreError, Stored, Swapped},
};

/// What is told of all executions.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) schedules: AtomicU64,
    pub(super) presented: AtomicU64,
    pub(super) kills: AtomicU64,
    pub(super) lost_answers: AtomicU64,
    pub(super) leaps: AtomicU64,
    pub(super) hang_ups: AtomicU64,
    pub(super) settlements_asked: AtomicU64,
    pub(super) transfers: AtomicU64,
    pub(super) grants: AtomicU64,
    /// Payments that are spent, where the answer was on its way when its instance was killed or its client went away.
    pub(super) unheard: AtomicU64,
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// The signature of the other payment.
pub(super) const OTHER: &str = "0x5";

/// One in `n`; never for 0.
pub(super) fn one_in(n: u32) -> bool {
    n > 0 && thread_rng().gen_range(0..n) == 0
}

/// One execution.
pub(super) struct World {
    pub(super) tally: Arc<Tally>,
    chains: [Mutex<Chain>; 2],
    /// Whether clients name what they pay for, and try to pay for it with another payment, too.
    pub(super) named: bool,
    records: Mutex<HashMap<Key, (Record, u64)>>,
    /// In seconds.
    clock: AtomicU64,
    steps: AtomicU32,
    /// At which steps a lease passes.
    leaps: Mutex<Vec<u32>>,
    /// Of how many operations the answer is lost; 0: of none.
    lossy: AtomicU32,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    at_work: AtomicU32,
    pub(super) grants: AtomicU64,
    pub(super) unheard: AtomicBool,
    /// Loading it lets the scheduler choose, in the middle of a poll.
    crossing: shuttle::sync::atomic::AtomicBool,
    log: Mutex<Vec<String>>,
}

impl World {
    pub(super) fn new(tally: Arc<Tally>, named: bool) -> Arc<Self> {
        let mut rng = thread_rng();
        let leaps = (0..rng.gen_range(0..4)).map(|_| rng.gen_range(0..STEPS)).collect();
        Arc::new(Self {
            tally,
            chains: [Chain::new(), Chain::new()].map(Mutex::new),
            named,
            records: Mutex::default(),
            clock: AtomicU64::new(0),
            steps: AtomicU32::new(0),
            leaps: Mutex::new(leaps),
            lossy: AtomicU32::new([0, 20, 6, 3][rng.gen_range(0..4)]),
            tasks: Mutex::default(),
            at_work: AtomicU32::new(0),
            grants: AtomicU64::new(0),
            unheard: AtomicBool::new(false),
            crossing: shuttle::sync::atomic::AtomicBool::new(false),
            log: Mutex::default(),
        })
    }

    pub(super) fn note(&self, line: impl FnOnce() -> String) {
        lock(&self.log).push(line());
    }

    pub(super) fn story(&self) -> String {
        lock(&self.log).join("\n")
    }

    /// Lets the scheduler choose, in the middle of a poll: threads do not stop at an `await` only.
    pub(super) fn cross(&self) {
        self.crossing.load(Ordering::SeqCst);
    }

    pub(super) fn leap(&self) {
        count(&self.tally.leaps);
        self.clock.fetch_add(LEASE.as_secs(), Ordering::Relaxed);
        self.note(|| "a lease passes".to_owned());
    }

    fn step(&self) {
        let step = self.steps.fetch_add(1, Ordering::Relaxed);
        if lock(&self.leaps).contains(&step) {
            self.leap();
        }
    }

    /// From here on the store answers, and the chain has decided.
    pub(super) fn calm(&self) {
        self.lossy.store(0, Ordering::Relaxed);
        lock(&self.leaps).clear();
        self.chains.iter().for_each(|chain| lock(chain).calm());
        self.note(|| "quiet".to_owned());
    }

    /// What the chain knows of a payment.
    pub(super) fn chain(&self, payment: &Payment) -> &Mutex<Chain> {
        &self.chains[usize::from(payment.payload.payload["signature"] == OTHER)]
    }

    /// How many payments moved money.
    pub(super) fn transfers(&self) -> u64 {
        self.chains.iter().map(|chain| u64::from(lock(chain).has_moved())).sum()
    }

    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let task = shuttle::future::spawn(work); // others may run before it returns
        lock(&self.tasks).push(task);
    }

    /// Waits until nothing runs any more.
    pub(super) async fn quiet(&self) {
        loop {
            let Some(task) = lock(&self.tasks).pop() else { return };
            task.await.expect("no task is aborted");
        }
    }

    fn load(&self, key: &Key) -> Option<Stored> {
        // Nothing expires: what is spent is remembered for longer than an execution lasts.
        let now = self.clock.load(Ordering::Relaxed);
        let records = lock(&self.records);
        let (Record { stamp, state, .. }, since) = records.get(key)?;
        Some(Stored { stamp: *stamp, state: state.clone(), age: Duration::from_secs(now - since) })
    }

    fn swap(&self, key: &Key, seen: Option<Stamp>, next: Option<Record>) -> Swapped {
        let found = self.load(key);
        let stamp = found.as_ref().map(|found| found.stamp);
        match next {
            Some(next) if stamp == Some(next.stamp) => {}
            _ if stamp != seen => return Swapped::Lost(found),
            None => {
                lock(&self.records).remove(key);
            }
            Some(next) => {
                lock(&self.records).insert(key.clone(), (next, self.clock.load(Ordering::Relaxed)));
            }
        }
        Swapped::Done
    }
}

/// At work on the payment: nobody else is, as long as no lease passed.
pub(super) struct AtWork(Arc<World>);

impl AtWork {
    pub(super) fn begin(world: &Arc<World>) -> Self {
        let others = world.at_work.fetch_add(1, Ordering::Relaxed);
        let leased = world.clock.load(Ordering::Relaxed) == 0;
        assert!(!leased || others == 0, "two at work in one lease\n{}", world.story());
        Self(world.clone())
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.at_work.fetch_sub(1, Ordering::Relaxed);
    }
}

/// About as many steps as an execution has.
pub(super) const STEPS: u32 = 120;

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics holding it")
}

/// A process that an instance runs in.
pub(super) struct Process {
    pub(super) world: Arc<World>,
    name: &'static str,
    killed: AtomicBool,
    /// How many steps it has to live.
    doom: AtomicU32,
    /// How many answers of the store it is still to lose in a row.
    outage: AtomicU32,
    /// Whether it held an answer back since it could not write that it is spent: the record may say so all the same,
    /// until the process can put that right.
    withheld: AtomicBool,
    wakers: Mutex<Vec<Waker>>,
}

impl Process {
    pub(super) fn new(world: &Arc<World>, name: &'static str, doom: Option<u32>) -> Arc<Self> {
        Arc::new(Self {
            world: world.clone(),
            name,
            killed: AtomicBool::new(false),
            doom: AtomicU32::new(doom.unwrap_or(u32::MAX)),
            outage: AtomicU32::new(0),
            withheld: AtomicBool::new(false),
            wakers: Mutex::default(),
        })
    }

    pub(super) fn is_killed(&self) -> bool {
        self.killed.load(Ordering::Relaxed)
    }

    pub(super) fn note(&self, line: impl FnOnce() -> String) {
        self.world.note(|| format!("{}: {}", self.name, line()));
    }

    /// Lets the scheduler choose; and this may be where the process is killed, and then nothing follows.
    pub(super) async fn step(&self) {
        Pause(false).await;
        self.world.step();
        if self.doom.fetch_sub(1, Ordering::Relaxed) == 0 && !self.killed.swap(true, Ordering::Relaxed) {
            self.note(|| "killed".to_owned());
            count(&self.world.tally.kills);
            if self.withheld.load(Ordering::Relaxed) {
                self.world.unheard.store(true, Ordering::Relaxed);
            }
            lock(&self.wakers).drain(..).for_each(Waker::wake);
        }
        if self.is_killed() {
            std::future::pending::<()>().await;
        }
    }

    pub(super) fn withhold(&self) {
        self.withheld.store(true, Ordering::Relaxed);
    }

    pub(super) fn doomed_never(&self) {
        self.doom.store(u32::MAX, Ordering::Relaxed);
        self.outage.store(0, Ordering::Relaxed);
    }

    /// Runs it, for as long as the process lives.
    pub(super) fn spawn<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl Future<Output = T> + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (tell, told) = oneshot::channel();
        let task = Mortal { process: self.clone(), known: false, work: Some(Box::pin(work)) };
        self.world.spawn(async move {
            if let Some(outcome) = task.await {
                let _ = tell.send(outcome); // whoever waited may have gone
            }
        });
        told
    }

    /// Whether the answer to what is asked of the store now is lost.
    fn loses_an_answer(&self) -> bool {
        let going_on = self.outage.load(Ordering::Relaxed);
        if going_on > 0 {
            self.outage.store(going_on - 1, Ordering::Relaxed);
        } else if one_in(self.world.lossy.load(Ordering::Relaxed)) {
            self.outage.store(thread_rng().gen_range(0..8), Ordering::Relaxed);
        } else {
            return false;
        }
        count(&self.world.tally.lost_answers);
        true
    }
}

/// A task of a process. Killed, it does nothing any more: what it holds is dropped, and no work that is begun by a drop
/// is done, as the process spawns nothing.
struct Mortal<F> {
    process: Arc<Process>,
    known: bool,
    work: Option<Pin<Box<F>>>,
}

impl<F: Future> Future for Mortal<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<F::Output>> {
        if !self.known {
            self.known = true;
            lock(&self.process.wakers).push(cx.waker().clone());
        }
        let this = &mut *self;
        let polled = match &mut this.work {
            Some(work) if !this.process.is_killed() => work.as_mut().poll(cx),
            _ => Poll::Pending,
        };
        if this.process.is_killed() {
            this.work = None;
            return Poll::Ready(None);
        }
        polled.map(Some)
    }
}

/// Ready when polled for the second time. It asks for no other task to be preferred, as a yield does: that would undo
/// the priorities of the scheduler.
pub(super) struct Pause(pub(super) bool);

impl Future for Pause {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.0 {
            return Poll::Ready(());
        }
        self.0 = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// The store, as a process reaches it.
pub(super) struct Remote(pub(super) Arc<Process>);

impl ClaimStore for Remote {
    async fn load(&self, key: &Key) -> Result<Option<Stored>, StoreError> {
        let Self(process) = self;
        process.step().await;
        let found = process.world.load(key);
        let lost = process.loses_an_answer();
        process.step().await;
        if lost { Err(StoreError::unavailable("lost")) } else { Ok(found) }
    }

    async fn swap(
        &self,
        key: &Key,
        seen: Option<Stamp>,
        next: Option<Record>,
    ) -> Result<Swapped, StoreError> {
        let Self(process) = self;
        process.step().await;
        let what = describe(next.as_ref());
        if !process.loses_an_answer() {
            let swapped = process.world.swap(key, seen, next);
            process.note(|| match &swapped {
                Swapped::Done => format!("writes {what}"),
                Swapped::Lost(_) => format!("does not write {what}: another was there"),
            });
            process.step().await;
            return Ok(swapped);
        }
        let (world, key) = (process.world.clone(), key.clone());
        let what = format!("{what}, and is not told");
        match thread_rng().gen_range(0..3) {
            0 => process.note(|| format!("does not write {what}")),
            1 => {
                let swapped = world.swap(&key, seen, next);
                process.note(|| format!("writes {what}: {}", matches!(swapped, Swapped::Done)));
            }
            _ => {
                process.note(|| format!("will have written {what}"));
                process.world.spawn(async move {
                    for _ in 0..thread_rng().gen_range(1..12) {
                        Pause(false).await;
                    }
                    let swapped = world.swap(&key, seen, next);
                    world.note(|| format!("late: {what}: {}", matches!(swapped, Swapped::Done)));
                });
            }
        }
        process.step().await;
        Err(StoreError::unavailable("lost"))
    }

    async fn open(&self, _: &str) -> Result<BTreeMap<String, Stored>, StoreError> {
        unreachable!("claims are never open")
    }
}

fn describe(record: Option<&Record>) -> String {
    let Some(record) = record else { return "nothing".to_owned() };
    let Ok(entry) = Entry::read(&record.state) else { return "what it is called".to_owned() };
    match entry {
        Entry::Claimed { .. } => "claimed".to_owned(),
        Entry::Spent { .. } => "spent".to_owned(),
        Entry::Held(held) => {
            let work = if held.busy { "at work" } else { "left" };
            let debt = match held.debt {
                Debt::Unresolved(None) => "unresolved",
                Debt::Unresolved(Some(_)) => "pending",
                Debt::Unserved(_) => "unserved",
                Debt::Failed(_) => "failed",
            };
            format!("{debt}, {work}")
        }
    }
}
