//! The store dies while many pay at two instances.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{task::JoinSet, time::sleep};
use x402_tests::{
    crash::store_at,
    stores::{Postgres, Redis},
};

use crate::{
    books::Sums,
    buyer::Buyer,
    kills::{BUYERS, Chance, REST},
    market::{Market, Records},
    stage::{Scene, Stage},
};

pub fn trials() -> Vec<Scene> {
    vec![
        Scene::new("faults::restarts::redis_that_forgets_everything", redis_that_forgets),
        Scene::new("faults::restarts::redis_that_keeps_what_it_said", redis_that_keeps),
        Scene::new("faults::restarts::postgres", postgres),
    ]
}

enum Server {
    Redis(Redis),
    Postgres(Postgres),
}

impl Server {
    fn kill(&mut self) {
        match self {
            Self::Redis(redis) => redis.kill().unwrap(),
            Self::Postgres(postgres) => postgres.kill().unwrap(),
        }
    }

    async fn restart(&mut self) {
        match self {
            Self::Redis(redis) => redis.restart().await.unwrap(),
            Self::Postgres(postgres) => postgres.restart().await.unwrap(),
        }
    }
}

/// Whoever was charged and not served yet may have lost the claim to an answer with it; nobody is served twice, nor asked
/// to pay again.
async fn redis_that_forgets(stage: Arc<Stage>) {
    let redis = Redis::start().await.unwrap();
    let url = redis.url();
    let sums = under_load(&stage, Server::Redis(redis), url).await;
    stage.add("faults, restarts of a store that forgets", sums.clone());
    let Sums { double_grants, double_charges, asked_again, unresolved, .. } = sums;
    assert_eq!([double_grants, double_charges, asked_again, unresolved], [0; 4], "{sums}");
}

async fn redis_that_keeps(stage: Arc<Stage>) {
    let redis = Redis::durable().await.unwrap();
    let url = redis.url();
    let sums = under_load(&stage, Server::Redis(redis), url).await;
    stage.add("faults, restarts of a store that keeps", sums.clone());
    sums.assert_sound();
    assert_eq!((sums.transfers, sums.grants), (sums.payments, sums.payments), "{sums}");
}

async fn postgres(stage: Arc<Stage>) {
    let postgres = Postgres::durable().await.unwrap();
    let url = postgres.database().await.unwrap();
    let sums = under_load(&stage, Server::Postgres(postgres), url).await;
    stage.add("faults, restarts of a store that keeps", sums.clone());
    sums.assert_sound();
    assert_eq!((sums.transfers, sums.grants), (sums.payments, sums.payments), "{sums}");
}

/// Two shops and their facilitator keep everything there.
async fn under_load(stage: &Stage, mut server: Server, url: String) -> Sums {
    let mut stores = Vec::new();
    for _ in 0..4 {
        stores.push(store_at(&url).await.unwrap());
    }
    let (counted, journal) = (stores.pop().unwrap(), stores.pop().unwrap());
    let records =
        Records { gates: stores, journal, gates_counted: counted.clone(), journal_counted: counted };
    let market = Market::open(stage.chain().await, records).await;
    let enough = Arc::new(AtomicBool::new(false));
    let mut buyers = JoinSet::new();
    for number in 0..BUYERS {
        let (buyer, enough, shops) = (Buyer::new(&market.chain).await, enough.clone(), market.shops());
        let route = if number % 2 == 0 { "/after" } else { "/first" };
        buyers.spawn(async move {
            let mut payments = Vec::new();
            while !enough.load(Ordering::Relaxed) {
                let mut payment = buyer.sign(shops[0], route).await;
                // At both at once, to begin with.
                let (one, two) = tokio::join!(payment.answer(shops[0]), payment.answer(shops[1]));
                payment.heard.extend([one, two]);
                if !payment.has_ended() {
                    payment.present_until_its_end(&shops).await;
                }
                payments.push(payment);
                sleep(REST).await;
            }
            payments
        });
    }
    let (mut chance, restarts) = (Chance::new(), stage.extent.restarts);
    for _ in 0..restarts {
        chance.pause(Duration::from_millis(1500)).await;
        server.kill();
        chance.pause(Duration::from_millis(200)).await;
        server.restart().await;
    }
    enough.store(true, Ordering::Relaxed);
    let mut payments: Vec<_> = buyers.join_all().await.into_iter().flatten().collect();
    let left_open = market.recover().await;
    let sums = market.count(&mut payments).await;
    Sums { done: vec![("restarts", restarts), ("settlements closed by a restart", left_open)], ..sums }
}
