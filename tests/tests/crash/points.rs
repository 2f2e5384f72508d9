//! The gate or the facilitator ends at each of its states, and comes back.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;
use x402_tests::Chain;

use crate::{
    books::Sums,
    buyer::{Buyer, Heard},
    stage::{Kind, Scene, Stage},
    town::{
        Party::{self, Facilitator, Shop},
        Town,
    },
};

/// Where it ends, on which route, and what the payment is answered in the end.
struct Point {
    name: &'static str,
    party: Party,
    route: &'static str,
    end: Heard,
}

const fn point(name: &'static str, party: Party, route: &'static str, end: Heard) -> Point {
    Point { name, party, route, end }
}

const POINTS: &[Point] = &[
    point("gate-claiming", Shop, "/after", Heard::Goods),
    point("gate-claimed", Shop, "/after", Heard::Goods),
    point("gate-verified", Shop, "/after", Heard::Goods),
    point("shop-handler", Shop, "/after", Heard::Goods),
    point("gate-settling", Shop, "/after", Heard::Goods),
    point("gate-held", Shop, "/after", Heard::Goods),
    point("gate-settled", Shop, "/after", Heard::Goods),
    point("gate-spending", Shop, "/after", Heard::Goods),
    // From here on the answer may have arrived.
    point("gate-spent", Shop, "/after", Heard::Spent),
    point("shop-granted", Shop, "/after", Heard::Spent),
    point("gate-held", Shop, "/first", Heard::Goods),
    point("gate-settled", Shop, "/first", Heard::Goods),
    point("gate-serving", Shop, "/first", Heard::Goods),
    point("shop-handler", Shop, "/first", Heard::Goods),
    point("gate-spending", Shop, "/first", Heard::Goods),
    point("gate-spent", Shop, "/first", Heard::Spent),
    point("settle-signed", Facilitator, "/after", Heard::Goods),
    point("settle-journaled", Facilitator, "/after", Heard::Goods),
    point("settle-left", Facilitator, "/after", Heard::Goods),
    point("settle-sent", Facilitator, "/after", Heard::Goods),
    point("settle-mined", Facilitator, "/after", Heard::Goods),
    point("settle-answered", Facilitator, "/after", Heard::Goods),
];

pub fn trials() -> Vec<Scene> {
    let trial = |point: &'static Point| {
        let name = format!("crash::points::{}{}", point.name, point.route.replace('/', "::"));
        Scene::new(name, move |stage| ends_there(stage, point))
    };
    let unmined = [("gate-pending", Shop), ("settle-sent", Facilitator)].map(|(name, party)| {
        let scene = format!("crash::points::{name}::after::before_it_is_mined");
        Scene::new(scene, move |stage| ends_before_it_is_mined(stage, name, party))
    });
    POINTS.iter().map(trial).chain(unmined).collect()
}

async fn ends_there(stage: Arc<Stage>, point: &'static Point) {
    let rounds = stage.extent.rounds;
    let shares = [rounds.div_ceil(2), rounds / 2];
    for (kind, rounds) in Kind::ALL.into_iter().zip(shares) {
        let mut town = Town::build(&stage, kind).await;
        let buyer = Buyer::new(&town.chain).await;
        let shop = town.shop.address();
        let mut payments = Vec::new();
        for _ in 0..rounds {
            town.party(point.party).restart(&[("X402_FAILPOINT", point.name)]).await.unwrap();
            let mut payment = buyer.sign(shop, point.route).await;
            let heard = payment.present(shop).await;
            assert!(matches!(heard, Heard::Nothing | Heard::Later(502 | 503, _)), "{heard:?}");
            town.party(point.party).ended().await.unwrap();
            town.party(point.party).restart(&[]).await.unwrap();
            payment.present_until_its_end(&[shop]).await;
            assert_eq!(payment.heard.last(), Some(&point.end), "{kind}: {:?}", payment.heard);
            payments.push(payment);
        }
        let sums = town.count(&mut payments).await;
        sums.assert_sound();
        assert_eq!(sums.transfers, rounds, "{kind}: {sums}");
        assert!(sums.runs <= 2 * rounds, "{kind}: {sums}");
        stage.add("crash, at each state", Sums { done: vec![("kills", rounds)], ..sums });
    }
    stage.add("crash, at each state", Sums { done: vec![("points", 1)], ..Sums::default() });
}

/// The transaction is sent, and no block comes until everything runs again.
async fn ends_before_it_is_mined(stage: Arc<Stage>, name: &'static str, party: Party) {
    let rounds = stage.extent.rounds;
    let chain = Arc::new(Chain::start().await.unwrap());
    let mut town = Town::build_on(chain.clone(), &stage, Kind::Redis).await;
    let buyer = Buyer::new(&chain).await;
    let shop = town.shop.address();
    let mut payments = Vec::new();
    for _ in 0..rounds {
        town.party(party).restart(&[("X402_FAILPOINT", name)]).await.unwrap();
        chain.set_automine(false).await.unwrap();
        let mut payment = buyer.sign(shop, "/after").await;
        let heard = payment.present(shop).await;
        assert!(matches!(heard, Heard::Nothing | Heard::Later(502, _)), "{heard:?}");
        town.party(party).ended().await.unwrap();
        town.party(party).restart(&[]).await.unwrap();
        // It waits for the lease, and then still for the block.
        while payment.present(shop).await != Heard::Later(503, "settlement_pending".to_owned()) {
            assert!(!payment.has_ended(), "{:?}", payment.heard);
            sleep(Duration::from_millis(40)).await;
        }
        chain.mine().await.unwrap();
        chain.set_automine(true).await.unwrap();
        payment.present_until_its_end(&[shop]).await;
        assert_eq!(payment.heard.last(), Some(&Heard::Goods), "{:?}", payment.heard);
        payments.push(payment);
    }
    let sums = town.count(&mut payments).await;
    sums.assert_sound();
    assert_eq!((sums.transfers, sums.grants), (rounds, rounds), "{sums}");
    stage.add("crash, at each state", Sums { done: vec![("kills", rounds), ("points", 1)], ..sums });
}
