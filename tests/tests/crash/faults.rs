//! Connections break between the gate, its facilitator, the node and the stores, at each step of a payment.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};
use x402_tests::proxy::{Fault, Proxy};

use crate::{
    Extent,
    books::Sums,
    buyer::{Buyer, Heard},
    market::{Market, Records},
    stage::{Kind, Scene, Stage},
};

/// How long a gate may take to write what it could not write while its store hung.
const PATIENCE: Duration = Duration::from_secs(20);

/// Between whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Between {
    GateAndFacilitator,
    FacilitatorAndNode,
    GateAnd(Kind),
    FacilitatorAnd(Kind),
}
use Between::{FacilitatorAnd, FacilitatorAndNode, GateAnd, GateAndFacilitator};

/// At which step, and what is said on the connection then.
struct Step {
    name: &'static str,
    says: &'static str,
    route: &'static str,
}

const fn step(name: &'static str, says: &'static str, route: &'static str) -> Step {
    Step { name, says, route }
}

const OF_FACILITATOR: &[Step] =
    &[step("verify", "POST /verify", "/after"), step("settle", "POST /settle", "/after")];
const OF_NODE: &[Step] = &[
    step("verify", "eth_call", "/after"),
    step("before_broadcast", "eth_estimateGas", "/after"),
    step("broadcast", "eth_sendRawTransaction", "/after"),
    step("after_broadcast", "eth_getTransactionReceipt", "/after"),
];
const OF_GATE: &[Step] = &[
    step("claim", r#""state":"claimed""#, "/after"),
    step("before_settling", r#""why":"unresolved""#, "/after"),
    step("before_serving", r#""why":"unserved""#, "/first"),
    step("spend", r#""state":"spent""#, "/after"),
];
const OF_JOURNAL: &[Step] =
    &[step("before_broadcast", r#""sent":"#, "/after"), step("after_broadcast", r#""answer":"#, "/after")];

const FAULTS: &[(&str, Fault)] = &[
    ("latency", Fault::Latency(Duration::from_millis(400))),
    ("down", Fault::Down),
    ("reset_before", Fault::ResetBefore),
    ("reset_after", Fault::ResetAfter),
    ("hang", Fault::Hang),
    ("cut_answer", Fault::Cut(5)),
];

pub fn trials(extent: Extent) -> Vec<Scene> {
    let tables: [(&str, Between, &[Step]); 6] = [
        ("gate_facilitator", GateAndFacilitator, OF_FACILITATOR),
        ("facilitator_node", FacilitatorAndNode, OF_NODE),
        ("gate_redis", GateAnd(Kind::Redis), OF_GATE),
        ("gate_postgres", GateAnd(Kind::Postgres), OF_GATE),
        ("facilitator_redis", FacilitatorAnd(Kind::Redis), OF_JOURNAL),
        ("facilitator_postgres", FacilitatorAnd(Kind::Postgres), OF_JOURNAL),
    ];
    let mut trials = Vec::new();
    for (name, between, steps) in tables {
        for step in steps {
            for (fault_name, fault) in FAULTS {
                for once in [false, true].into_iter().filter(|once| !once || extent.faults_once) {
                    let times = if once { "once" } else { "until_it_is_lifted" };
                    let name = format!("faults::steps::{name}::{}::{fault_name}::{times}", step.name);
                    trials.push(Scene::new(name, move |stage| strikes(stage, between, step, *fault, once)));
                }
            }
        }
    }
    trials
}

async fn strikes(stage: Arc<Stage>, between: Between, step: &'static Step, fault: Fault, once: bool) {
    let chain = stage.chain().await;
    // The server of the store, kept for as long as it is used.
    let (market, to_store, _store) = match between {
        GateAndFacilitator | FacilitatorAndNode => {
            (Market::open(chain, Records::in_memory()).await, None, None)
        }
        GateAnd(kind) | FacilitatorAnd(kind) => {
            let store = stage.store(kind).await;
            let (proxy, through) = Proxy::to_store(&store.url).await.unwrap();
            let records = match between {
                GateAnd(_) => Records::of_gate(&through, &store.url).await,
                _ => Records::of_facilitator(&through, &store.url).await,
            };
            (Market::open(chain, records).await, Some(proxy), Some(store))
        }
    };
    let proxy = match (between, &to_store) {
        (GateAndFacilitator, _) => &market.to_facilitator,
        (FacilitatorAndNode, _) => &market.to_node,
        (_, proxy) => proxy.as_ref().unwrap(),
    };
    let shops = market.shops();
    let buyer = Buyer::new(&market.chain).await;
    // Everything has been connected, and answered, before.
    let mut first = buyer.sign(shops[0], step.route).await;
    first.present_until_its_end(&shops).await;

    let mut payment = buyer.sign(shops[0], step.route).await;
    if once {
        proxy.inflict_once(fault, step.says)
    } else {
        proxy.inflict(fault, step.says)
    }
    let heard = payment.present(shops[0]).await;
    assert!(proxy.struck().get() > 0, "it did not strike: {heard:?}");
    assert!(matches!(heard, Heard::Goods | Heard::Later(409 | 502 | 503, _)), "{heard:?}");
    proxy.lift();
    if heard != Heard::Goods {
        payment.present_until_its_end(&shops).await;
    }
    // A store that says nothing for longer than anybody waits, and then does what it was told, says that the payment is spent
    // until the gate has found out, and written that its answer is owed.
    let begun = Instant::now();
    while fault == Fault::Hang && payment.received() == 0 && begun.elapsed() < PATIENCE {
        sleep(Duration::from_millis(40)).await;
        payment.present_until_its_end(&shops).await;
    }
    assert_eq!(payment.heard.last(), Some(&Heard::Goods), "{:?}", payment.heard);

    let left_open = market.recover().await;
    let sums = market.count(&mut [first, payment]).await;
    let done = vec![("faults", 1), ("settlements closed by a restart", left_open)];
    stage.add("faults, at each step", Sums { done, ..sums.clone() });
    sums.assert_sound();
    assert_eq!((sums.transfers, sums.grants), (2, 2), "{sums}");
}
