//! One payment, presented many times at once at two instances that share a store.

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::{
    books::Sums,
    buyer::{Buyer, Heard},
    stage::{Kind, Scene, Stage},
    town::Town,
};

const AT_ONCE: usize = 64;

pub fn trials() -> Vec<Scene> {
    let trial = |kind: Kind| {
        let name = format!("race::instances::sixty_four_at_once_buy_once::{kind}");
        Scene::new(name, move |stage| sixty_four_at_once(stage, kind))
    };
    Kind::ALL.into_iter().map(trial).collect()
}

async fn sixty_four_at_once(stage: Arc<Stage>, kind: Kind) {
    let town = Town::build(&stage, kind).await;
    let other = town.another_shop().await;
    let shops = [town.shop.address(), other.address()];
    let buyer = Buyer::new(&town.chain).await;
    let mut payments = Vec::new();
    for round in 0..stage.extent.races {
        let route = if round % 2 == 0 { "/after" } else { "/first" };
        let payment = Arc::new(buyer.sign(shops[0], route).await);
        let mut answers = JoinSet::new();
        for shop in shops.into_iter().cycle().take(AT_ONCE) {
            let payment = payment.clone();
            answers.spawn(async move { payment.answer(shop).await });
        }
        let heard = answers.join_all().await;
        let count = |wanted: fn(&Heard) -> bool| heard.iter().filter(|heard| wanted(heard)).count();
        let goods = count(|heard| *heard == Heard::Goods);
        let refused = count(|heard| matches!(heard, Heard::Spent | Heard::Later(409, _)));
        assert_eq!((goods, refused), (1, AT_ONCE - 1), "round {round}: {heard:?}");
        let mut payment = Arc::into_inner(payment).unwrap();
        payment.heard = heard;
        payments.push(payment);
    }
    let rounds = payments.len();
    let sums = town.count(&mut payments).await;
    let suite = match kind {
        Kind::Redis => "concurrency, two instances on Redis",
        Kind::Postgres => "concurrency, two instances on PostgreSQL",
    };
    stage.add(suite, Sums { done: vec![("rounds of 64", rounds)], ..sums.clone() });
    sums.assert_sound();
    assert_eq!((sums.transfers, sums.grants, sums.runs), (rounds, rounds, rounds), "{sums}");
}
