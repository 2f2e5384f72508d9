//! The same payment, presented again and again, under schedules that nobody would think of.
//!
//! What runs is the code of the gate from [`Claims::claim`] to [`Claim::spend`], verifying and settling included. Its
//! world is a model: several instances share a store; each operation lets the scheduler choose who goes on, and may lose
//! its answer; leases pass at any time, under an instance that is merely slow too; and instances are killed at any step.
//! When all is quiet again, the payment is presented once more.
//!
//! The laws:
//!
//! - No more answers leave than money moved, and it moves once.
//! - What is presented when all is quiet is served, or was spent.
//! - Who paid had an answer; unless it was on its way when the instance was killed, or the client went away.
//! - As long as no lease passes, one is at work; and no handler runs for what is spent.
//!
//! Where clients name what they pay for, and one tries to pay with another payment for the same, too:
//!
//! - Of both, one moves money; the other is refused for good, whenever it comes.
//!
//! What the facilitator tells is true: who is told that a transaction failed may take the payment for unpaid. One that
//! tells it while an earlier question may still make it send another transaction breaks the third law.
//!
//! `X402_SCHEDULES=100000 cargo test -p x402-core --features gate --lib schedules -- --nocapture` explores so many of each
//! kind, other ones each time. `SHUTTLE_RANDOM_SEED` repeats what a run printed.

mod chain;
mod world;

use std::{
    env,
    future::poll_fn,
    hash::{BuildHasher, RandomState},
    mem,
    sync::atomic::Ordering::Relaxed,
    task::Poll,
};

use shuttle::{
    Config, Runner,
    rand::{Rng, thread_rng},
    scheduler::{PctScheduler, RandomScheduler, Scheduler},
};
use tokio::{runtime::Runtime, sync::watch};

use self::world::{AtWork, OTHER, Pause, Process, STEPS, Tally, World, count, one_in};
use super::{
    super::{
        builder::GateInner,
        capabilities::Capabilities,
        charge::SettleTiming,
        hooks::Hooks,
        idempotency::Uploads,
        settle::{self, Settled},
        verify::Verified,
    },
    tests::{identity, payment, place},
    *,
};
use crate::facilitator::AnyFacilitator;

const LEASE: Duration = Duration::from_secs(60);

/// How many schedules of each kind: in some seconds, most defences that are taken out are missed.
const SCHEDULES: usize = 2000;
const LONG_RUN: &str = "X402_SCHEDULES";
const SEED: u64 = 402;

#[test]
fn a_payment_is_never_granted_twice_and_nobody_who_paid_is_refused_for_good() {
    let wanted = env::var(LONG_RUN).ok().map(|number| number.parse().expect("a number of schedules"));
    let (schedules, seed) = match wanted {
        Some(schedules) => (schedules, RandomState::new().hash_one(SEED)),
        None => (SCHEDULES, SEED),
    };
    println!("seed {seed}");
    let tally = Arc::new(Tally::default());
    for named in [false, true] {
        explore(RandomScheduler::new_from_seed(seed, schedules), named, &tally);
        for depth in [3, 8] {
            explore(PctScheduler::new_from_seed(seed, depth, schedules), named, &tally);
        }
    }
    println!("{tally:#?}");
    for happened in [&tally.kills, &tally.lost_answers, &tally.leaps, &tally.hang_ups, &tally.unheard] {
        assert!(happened.load(Relaxed) > 0, "the model leaves out what it is to show: {tally:#?}");
    }
}

fn explore(scheduler: impl Scheduler + 'static, named: bool, tally: &Arc<Tally>) {
    let mut config = Config::new();
    config.stack_size = 0x40000; // unoptimised futures are large
    let tally = tally.clone();
    Runner::new(scheduler, config).run(move || shuttle::future::block_on(execute(tally.clone(), named)));
}

/// One schedule, from the first request to the last.
async fn execute(tally: Arc<Tally>, named: bool) {
    // It gives a gate what it is made of, and never runs.
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let world = World::new(tally, named);
    let timing = if one_in(2) { SettleTiming::BeforeHandler } else { SettleTiming::AfterHandler };
    let instances = ["one", "two", "three"].map(|name| {
        let doom = one_in(2).then(|| thread_rng().gen_range(0..STEPS / 3));
        Instance::new(&world, &runtime, name, doom)
    });
    let instances = &instances[..thread_rng().gen_range(2..=3)];
    for _ in 0..thread_rng().gen_range(2..=4) {
        let instance = &instances[thread_rng().gen_range(0..instances.len())];
        instance.process.spawn(instance.clone().request(timing));
    }
    for instance in instances {
        instance.process.spawn(instance.clone().renew());
    }
    world.quiet().await;
    world.calm();
    check(&world, instances, &Instance::new(&world, &runtime, "last", None), timing).await;
}

/// What must be so when all is quiet.
async fn check(world: &Arc<World>, instances: &[Instance], last: &Instance, timing: SettleTiming) {
    let fail = |why: String| -> ! {
        {
            let before = world.tally.schedules.load(Relaxed);
            panic!("{why}, after {before} schedules\n{timing:?}\n{}", world.story())
        }
    };
    let mut answers = Vec::new();
    // A lease for what is at work no more; another for who settles late and is then served.
    // Both payments, in turn, where there are two.
    let end: &[_] = if world.named { &["conflict", "conflict"] } else { &["spent"] };
    while answers.len() < 4 * end.len() && !answers.ends_with(end) {
        for instance in instances {
            instance.process.doomed_never();
            if !instance.process.is_killed() {
                instance.process.spawn(instance.clone().renew_once());
                world.quiet().await;
                if !instance.gate.claims.live().is_empty() {
                    fail("nobody is at work, and it is renewed".to_owned());
                }
            }
        }
        world.leap();
        let other = world.named && answers.len() % 2 == 1;
        let told = last.process.spawn(last.clone().present(timing, Ending::Answers, other));
        world.quiet().await;
        answers.push(match told.await {
            Ok(Ok(())) => "served",
            Ok(Err(refusal)) => refusal.name(),
            Err(_) => "killed",
        });
        world.note(|| format!("presented again: {answers:?}"));
    }
    let grants = world.grants.load(Relaxed);
    let transfers = world.transfers();
    let unheard = world.unheard.load(Relaxed);
    world.tally.transfers.fetch_add(transfers, Relaxed);
    world.tally.grants.fetch_add(grants, Relaxed);
    count(&world.tally.schedules);
    if grants > transfers || transfers > 1 {
        fail(format!("{grants} answers left, and the money moved {transfers} times"));
    }
    if !answers.ends_with(end) {
        fail(format!("unresolved: it is {answers:?}"));
    }
    if grants == 0 && !unheard {
        fail("spent, and no answer left for it".to_owned());
    }
    if grants == 0 {
        count(&world.tally.unheard);
    }
}

/// How a handler ends.
#[derive(Debug, Clone, Copy)]
enum Ending {
    Answers,
    /// With an answer that is not charged, or owed.
    Refuses,
    Fails,
    /// Its client goes away.
    IsDropped,
}

/// An instance of the service.
#[derive(Clone)]
struct Instance {
    process: Arc<Process>,
    gate: Arc<GateInner>,
}

impl Instance {
    fn new(world: &Arc<World>, runtime: &Runtime, name: &'static str, doom: Option<u32>) -> Self {
        let process = Process::new(world, name, doom);
        let mut listeners = Listeners::default();
        let passing = world.clone();
        listeners.push(move |_| passing.cross());
        let host = Arc::downgrade(&process);
        let background: Background = Box::new(move |work| {
            if let Some(process) = host.upgrade().filter(|process| !process.is_killed()) {
                process.spawn(work);
            }
        });
        let store = AnyClaimStore::new(world::Remote(process.clone()));
        let facilitator = AnyFacilitator::new(chain::Remote(process.clone()));
        let gate = Arc::new(GateInner {
            origin: "https://a.b".to_owned(),
            capabilities: Capabilities::watch(facilitator.clone(), runtime.handle()),
            facilitator,
            schemes: Vec::new(),
            hooks: Hooks::default(),
            limits: Default::default(),
            exclusive: Vec::new(),
            request_hooks: Vec::new(),
            v1: true,
            aliases: Vec::new(),
            claims: Claims::new(store, LEASE, SPENT_FOR, listeners, background),
            idempotency: Default::default(),
            uploads: Uploads::new(Default::default()),
            paywall: None,
            settling: watch::Sender::new(0),
            runtime: runtime.handle().clone(),
        });
        Self { process, gate }
    }

    async fn renew(self) {
        for _ in 0..thread_rng().gen_range(0..4) {
            for _ in 0..thread_rng().gen_range(1..16) {
                self.process.step().await;
            }
            self.gate.claims.renew().await;
        }
    }

    async fn renew_once(self) {
        self.gate.claims.renew().await;
    }

    /// The payment comes, at any time, from a client that may go away.
    async fn request(self, timing: SettleTiming) {
        for _ in 0..[0, 1, 10, 40][thread_rng().gen_range(0..4)] {
            Pause(false).await;
        }
        let ending = match thread_rng().gen_range(0..8) {
            0 => Ending::Refuses,
            1 => Ending::Fails,
            2 => Ending::IsDropped,
            _ => Ending::Answers,
        };
        let patience = if one_in(4) { thread_rng().gen_range(0..20) } else { u32::MAX };
        let process = self.process.clone();
        process.note(|| format!("a request, whose handler {ending:?}"));
        let other = self.process.world.named && one_in(2);
        process.note(|| {
            if other { "with the other payment".to_owned() } else { "with the first payment".to_owned() }
        });
        let mut work = Box::pin(self.present(timing, ending, other));
        let mut polls = 0;
        let outcome = poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
            Poll::Pending if polls >= patience => Poll::Ready(None),
            Poll::Pending => {
                polls += 1;
                Poll::Pending
            }
        })
        .await;
        match outcome {
            Some(outcome) => process.note(|| format!("answers: {:?}", outcome.map_err(|no| no.name()))),
            None => {
                count(&process.world.tally.hang_ups);
                process.note(|| "its client goes away".to_owned());
            }
        }
        drop(work);
    }

    /// The way of a request through the gate, as admission has it.
    async fn present(self, timing: SettleTiming, ending: Ending, other: bool) -> Result<(), Refusal> {
        let world = &self.process.world;
        count(&world.tally.presented);
        let claims = &self.gate.claims;
        let (identity, mut payment) =
            (if other { identity("b", "y") } else { identity("a", "x") }, payment());
        if other {
            payment.payload.payload["signature"] = OTHER.into();
        }
        let named = world.named.then(|| {
            let id = "a-name-of-16-letters".parse().expect("an identifier");
            (Identifier::new("https://a.b", &id, "the request".to_owned()), Duration::from_secs(3600))
        });
        // Nothing that is asked for matches it any more: its place may have another price by now.
        let outdated = one_in(3) && claims.known(&identity, None).await? == Known::Resumable;
        let payment = (!outdated).then_some(payment);
        // Where there is a body, it is read when the payment was found good.
        let late = named.clone().filter(|_| one_in(2));
        let naming = match &late {
            Some(_) => Naming::Unread("https://a.b a-name-of-16-letters".to_owned()),
            None => named.clone().into(),
        };
        let taking = match claims.take_as(payment, identity, place(1, "/"), naming).await? {
            Taking::Unread(matched) => claims.take(*matched, place(1, "/"), named.into()).await?,
            taking => taking,
        };
        let Taking::Claimed(claim) = taking else { unreachable!("no answer is kept") };
        let mut verified = Verified::verify(&self.gate, claim).await?;
        if let Some((identifier, keep_for)) = late.filter(|_| !verified.claim().is_identified()) {
            self.process.step().await;
            verified = verified.name(identifier, keep_for).await?;
        }
        match timing {
            SettleTiming::BeforeHandler => {
                let settled = self.settle(verified).await?;
                let granted = self.process.world.grants.load(Relaxed);
                let settled = settled.serving().await?;
                assert_eq!(granted, 0, "a handler runs for what is spent\n{}", self.process.world.story());
                // From here on a client that goes away is charged.
                let unheard = Unheard { process: &self.process, when_killed: false };
                self.handle().await;
                if matches!(ending, Ending::IsDropped) {
                    drop(settled);
                    return Ok(());
                }
                mem::forget(unheard);
                self.end(settled, ending).await
            }
            SettleTiming::AfterHandler if verified.may_be_made() => {
                let settled = self.settle(verified).await?;
                self.handle().await;
                self.end(settled, ending).await
            }
            SettleTiming::AfterHandler => {
                self.handle().await;
                match ending {
                    Ending::Answers => {
                        let settled = self.settle(verified).await?;
                        self.end(settled, ending).await
                    }
                    Ending::Refuses => {
                        verified.into_claim().end().await;
                        Ok(())
                    }
                    Ending::Fails | Ending::IsDropped => Ok(()),
                }
            }
        }
    }

    /// As [`Settled::settle`] does: in a task of its own.
    async fn settle(&self, verified: Verified) -> Result<Settled, Refusal> {
        let told = self.process.spawn(settle::settle(self.gate.clone(), verified.into_claim()));
        told.await.expect("who waits for a task is killed with it")
    }

    async fn handle(&self) {
        let _at_work = AtWork::begin(&self.process.world);
        for _ in 0..thread_rng().gen_range(0..4) {
            self.process.step().await;
        }
    }

    async fn end(&self, settled: Settled, ending: Ending) -> Result<(), Refusal> {
        match ending {
            Ending::Answers => {
                let unheard = Unheard { process: &self.process, when_killed: true };
                let served = settled.served(None).await;
                // Another task may have been at the step that killed it.
                if !self.process.is_killed() {
                    mem::forget(unheard);
                    served.inspect_err(|_| self.process.withhold())?;
                    self.process.world.grants.fetch_add(1, Relaxed);
                    self.process.note(|| "an answer leaves".to_owned());
                }
            }
            Ending::Refuses => {
                settled.unserved().await;
            }
            Ending::Fails => settled.failed(),
            Ending::IsDropped => drop(settled),
        }
        Ok(())
    }
}

/// Dropped, an answer did not arrive, as far as can be known here, and its payment may be spent all the same.
struct Unheard<'a> {
    process: &'a Process,
    when_killed: bool,
}

impl Drop for Unheard<'_> {
    fn drop(&mut self) {
        if self.when_killed || !self.process.is_killed() {
            self.process.world.unheard.store(true, Relaxed);
        }
    }
}
