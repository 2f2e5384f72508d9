//! The gate, the facilitator or both are killed at random moments while many pay; or a gate stands still, and goes on.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{task::JoinSet, time::sleep};

use crate::{
    books::Sums,
    buyer::Buyer,
    stage::{Kind, Scene, Stage},
    town::{Party, Town},
};

pub const BUYERS: usize = 6;
/// Between two payments: others want some of the machine.
pub const REST: Duration = Duration::from_millis(30);

pub fn trials() -> Vec<Scene> {
    let trial = |kind: Kind| {
        let name = format!("crash::kills::at_random_moments_under_load::{kind}");
        Scene::new(name, move |stage| at_random_moments(stage, kind))
    };
    let frozen = |kind: Kind| {
        let name = format!("crash::kills::an_instance_stands_still_and_goes_on::{kind}");
        Scene::new(name, move |stage| stands_still(stage, kind))
    };
    Kind::ALL.into_iter().map(trial).chain(Kind::ALL.into_iter().map(frozen)).collect()
}

/// Moments that nobody chose, and that can be had again: `X402_SEED`.
pub struct Chance(u64);

impl Chance {
    pub fn new() -> Self {
        let seed = std::env::var("X402_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| RandomState::new().hash_one(()));
        println!("X402_SEED={seed}");
        Self(seed)
    }

    /// Less than this. (SplitMix64.)
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }

    pub async fn pause(&mut self, up_to: Duration) {
        sleep(Duration::from_micros(self.below(up_to.as_micros() as u64))).await;
    }
}

async fn at_random_moments(stage: Arc<Stage>, kind: Kind) {
    let kills = stage.extent.kills / 2;
    let mut town = Town::build(&stage, kind).await;
    let shop = town.shop.address();
    let enough = Arc::new(AtomicBool::new(false));
    let mut buyers = JoinSet::new();
    for number in 0..BUYERS {
        let (buyer, enough) = (Buyer::new(&town.chain).await, enough.clone());
        let route = if number % 2 == 0 { "/after" } else { "/first" };
        buyers.spawn(async move {
            let mut payments = Vec::new();
            while !enough.load(Ordering::Relaxed) {
                let mut payment = buyer.sign(shop, route).await;
                payment.present_until_its_end(&[shop]).await;
                // Who has the goods may want them again.
                payment.present(shop).await;
                payments.push(payment);
                sleep(REST).await;
            }
            payments
        });
    }
    let mut chance = Chance::new();
    let mut killed = 0;
    while killed < kills {
        chance.pause(Duration::from_millis(700)).await;
        let parties: &[Party] = match chance.below(3) {
            0 => &[Party::Shop],
            1 => &[Party::Facilitator],
            _ => &[Party::Facilitator, Party::Shop],
        };
        for party in parties {
            town.party(*party).kill().await.unwrap();
            killed += 1;
        }
        chance.pause(Duration::from_millis(200)).await;
        for party in parties {
            town.party(*party).restart(&[]).await.unwrap();
        }
    }
    enough.store(true, Ordering::Relaxed);
    let mut payments: Vec<_> = buyers.join_all().await.into_iter().flatten().collect();
    let sums = town.count(&mut payments).await;
    stage.add("crash, at random moments", Sums { done: vec![("kills", killed)], ..sums.clone() });
    sums.assert_sound();
    assert_eq!(sums.transfers, sums.payments, "{sums}");
}

/// One of two instances stops for longer than its claims stand, the other takes them up, and the first goes on with what it
/// was at.
async fn stands_still(stage: Arc<Stage>, kind: Kind) {
    let mut town = Town::build(&stage, kind).await;
    let other = town.another_shop().await;
    let shops = [town.shop.address(), other.address()];
    let enough = Arc::new(AtomicBool::new(false));
    let mut buyers = JoinSet::new();
    for number in 0..BUYERS {
        let (buyer, enough) = (Buyer::new(&town.chain).await, enough.clone());
        let route = if number % 2 == 0 { "/after" } else { "/first" };
        buyers.spawn(async move {
            let mut payments = Vec::new();
            while !enough.load(Ordering::Relaxed) {
                let mut payment = buyer.sign(shops[1], route).await;
                let (one, two) =
                    tokio::join!(payment.answer(shops[0]), payment.answers_until_its_end(&shops[1..]));
                payment.heard.extend(two);
                payment.heard.push(one);
                payments.push(payment);
                sleep(REST).await;
            }
            payments
        });
    }
    let mut chance = Chance::new();
    let freezes = stage.extent.freezes;
    for _ in 0..freezes {
        chance.pause(Duration::from_millis(500)).await;
        town.shop.freeze().unwrap();
        sleep(Duration::from_millis(1200)).await;
        chance.pause(Duration::from_millis(600)).await;
        town.shop.thaw().unwrap();
    }
    enough.store(true, Ordering::Relaxed);
    let mut payments: Vec<_> = buyers.join_all().await.into_iter().flatten().collect();
    let sums = town.count(&mut payments).await;
    stage.add("crash, instances that stand still", Sums { done: vec![("freezes", freezes)], ..sums.clone() });
    sums.assert_sound();
    assert_eq!((sums.transfers, sums.grants), (sums.payments, sums.payments), "{sums}");
}
