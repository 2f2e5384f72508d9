//! Several instances on one store, and those that are killed.

use super::*;

pub const CASES: &[Case] = &[
    case!(two_instances_answer_as_one),
    case!(of_two_payments_at_two_instances_one_is_charged).threads(),
    case!(a_killed_instance_holds_an_identifier_for_a_lease),
    case!(a_killed_instance_may_have_settled),
    case!(a_killed_instance_has_settled_while_its_answer_was_made),
];

async fn two_instances_answer_as_one(stack: Stack) {
    let store = MemoryStore::new();
    let one = open_with(stack, Script::new(), |gate| gate.store(store.clone())).await;
    let other = open_with(stack, Script::new(), |gate| gate.store(store.clone())).await;
    let payment = one.named("/cheap", ID).await;
    let first = one.pay("/cheap", &payment).await;
    assert_sold(&first, "/cheap");
    assert_again(&other.pay("/cheap", &payment).await, &first);
    assert_conflict(
        &other.pay("/cheap", &other.named("/cheap", ID).await).await,
        "payment_identifier_conflict",
    );
    assert_conflict(&other.pay("/twin", &payment).await, "payment_identifier_conflict");
    assert_eq!((one.counts(), other.counts()), ((1, 1, 1), (0, 0, 0)));
}

async fn of_two_payments_at_two_instances_one_is_charged(stack: Stack) {
    let store = MemoryStore::new();
    let mut shops = Vec::new();
    for _ in 0..2 {
        let script = Script::new().on_verify([Act::Dawdle]).on_settle([Act::Dawdle]);
        shops.push(Arc::new(open_with(stack, script, |gate| gate.store(store.clone())).await));
    }
    let settled = |shops: &[Arc<Shop>]| shops.iter().map(|shop| shop.script.settle_calls()).sum::<usize>();
    for round in 0..16 {
        let (before, id) = (settled(&shops), format!("race-number-{round:06}"));
        let mut answers = JoinSet::new();
        for index in 0..8 {
            let shop = shops[index % 2].clone();
            let payment = shop.named("/cheap", &id).await;
            answers.spawn(async move { shop.pay("/cheap", &payment).await });
        }
        let answers = answers.join_all().await;
        let sold = answers.iter().filter(|answer| answer.status == 200).count();
        assert!(answers.iter().all(|answer| [200, 409].contains(&answer.status)), "{answers:?}");
        assert_eq!((sold, settled(&shops) - before), (1, 1), "round {round}");
    }
}

/// A store from which an instance can be cut off: what it says then is lost, as if it had been killed.
#[derive(Clone, Default)]
struct Cut {
    memory: MemoryStore,
    is_cut: Arc<AtomicBool>,
    last: watch::Sender<String>,
}

impl Cut {
    fn now(&self) {
        self.is_cut.store(true, Ordering::SeqCst);
    }

    fn no_longer(&self) {
        self.is_cut.store(false, Ordering::SeqCst);
    }

    fn check(&self) -> Result<(), StoreError> {
        if self.is_cut.load(Ordering::SeqCst) { Err(StoreError::unavailable("cut off")) } else { Ok(()) }
    }
}

impl ClaimStore for Cut {
    async fn load(&self, key: &Key) -> Result<Option<Stored>, StoreError> {
        self.check()?;
        self.memory.load(key).await
    }

    async fn swap(
        &self,
        key: &Key,
        seen: Option<Stamp>,
        next: Option<Record>,
    ) -> Result<Swapped, StoreError> {
        self.check()?;
        let state = next.as_ref().map(|next| next.state.clone());
        let swapped = self.memory.swap(key, seen, next).await;
        self.last.send_replace(state.unwrap_or_default());
        swapped
    }

    async fn open(&self, space: &str) -> Result<BTreeMap<String, Stored>, StoreError> {
        self.check()?;
        self.memory.open(space).await
    }
}

/// One that is cut off, and another, which wait for one another no longer than this.
async fn cut(stack: Stack, script: Script) -> (Cut, Shop, Shop) {
    const LEASE: Duration = Duration::from_millis(600);
    let store = Cut::default();
    let killed = open_with(stack, script, |gate| gate.store(store.clone()).claim_lease(LEASE)).await;
    let memory = store.memory.clone();
    let alive = open_with(stack, Script::new(), |gate| gate.store(memory).claim_lease(LEASE)).await;
    (store, killed, alive)
}

async fn a_killed_instance_holds_an_identifier_for_a_lease(stack: Stack) {
    for same in [true, false] {
        let (store, killed, alive) = cut(stack, Script::new().on_verify([Act::Wait])).await;
        let id = format!("order-of-the-killed-{same}");
        let payment = killed.named("/cheap", &id).await;
        let other = if same { payment.clone() } else { alive.named("/cheap", &id).await };
        let (late, first) = tokio::join!(killed.pay("/cheap", &payment), async {
            killed.script.verify_begun(1).await;
            store.now();
            let expected = if same { "payment_in_progress" } else { "payment_identifier_conflict" };
            assert_refused(&alive.pay("/cheap", &other).await, 409, expected);
            let first = alive.pay_until("/cheap", &other).await;
            // It was not dead after all, and finds that it has nothing any more.
            store.no_longer();
            killed.script.let_go();
            first
        });
        assert_sold(&first, "/cheap");
        assert_refused(&late, 409, "payment_in_progress");
        assert_again(&alive.pay("/cheap", &other).await, &first);
        assert_eq!((killed.script.settle_calls(), alive.counts()), (0, (1, 1, 1)));
    }
}

async fn a_killed_instance_may_have_settled(stack: Stack) {
    let (store, killed, alive) = cut(stack, Script::new().on_settle([Act::Wait])).await;
    let payment = killed.named("/cheap", ID).await;
    let other = alive.named("/cheap", ID).await;
    let (late, first) = tokio::join!(killed.pay("/cheap", &payment), async {
        killed.script.settle_begun(1).await;
        store.now();
        let first = alive.pay_until("/cheap", &payment).await;
        killed.script.let_go();
        first
    });
    assert_sold(&first, "/cheap");
    assert!([409, 503].contains(&late.status), "{late:?}");
    assert_conflict(&alive.pay("/cheap", &other).await, "payment_identifier_conflict");
    assert_again(&alive.pay("/cheap", &payment).await, &first);
    assert_eq!(alive.counts(), (1, 0, 1));
}

async fn a_killed_instance_has_settled_while_its_answer_was_made(stack: Stack) {
    let (store, killed, alive) = cut(stack, Script::new()).await;
    let payment = killed.named("/stalls", ID).await;
    let lost = killed.pay("/stalls", &payment);
    let known = async {
        let mut last = store.last.subscribe();
        let written = last.wait_for(|state| state.contains("unserved"));
        tokio::time::timeout(Duration::from_secs(20), written).await.expect("it is not written").unwrap();
        store.now();
    };
    tokio::select! {
        answer = lost => panic!("{answer:?}"),
        () = known => {}
    }
    // The second visit: it is whole by now.
    alive.goods.visits.count();
    let answer = alive.pay_until("/stalls", &payment).await;
    assert_sold(&answer, "/stalls");
    assert_eq!(alive.script.settle_calls(), 0, "nobody has to be asked whether it was settled");
    assert_again(&alive.pay("/stalls", &payment).await, &answer);
}
