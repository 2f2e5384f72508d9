//! A shop on a socket, in any framework.

use http::HeaderName;
use x402_core::{
    facilitator::Facilitator,
    gate::{Charge, ConfigError, GateBuilder, PaymentGate, RouteTable},
};
use x402_tests::{
    script::Script,
    serve::{Counter, Serving},
};

use crate::{
    goods::{Goods, Shelf, of_everything, shelves, unpriced},
    harness::{Framework, Stack, Wire},
    stacks,
    support::ORIGIN,
};

pub use crate::goods::{Stock, cent, dollar};

/// A shop. Its routes: `/cheap` and `/twin` at a cent, `/dear` and `/dear/{id}` at a dollar, `/free`, and others that
/// fail, stream or wait, each named for what it does.
pub struct Shop {
    pub stack: Stack,
    pub script: Script,
    pub gate: PaymentGate,
    pub serving: Serving,
    pub goods: Goods,
    /// How often handlers of paid routes ran.
    pub visits: Counter,
    /// How often the body of `/stream` was polled.
    pub polls: Counter,
}

/// The header by which payments may come, too.
pub const ALIAS: HeaderName = HeaderName::from_static("x-shop-payment");

/// A gate, as it is without further settings.
pub fn gate(facilitator: impl Facilitator) -> GateBuilder {
    PaymentGate::builder(ORIGIN).facilitator(facilitator).scheme(x402_evm::exact::server())
}

/// Opens a shop in the stack's framework.
pub async fn serve(
    stack: Stack,
    gate: &PaymentGate,
    goods: &Goods,
    stock: Stock,
) -> Result<Serving, ConfigError> {
    let (gate, goods) = (gate.clone(), goods.clone());
    let serving = match stack.framework {
        Framework::Axum => stacks::axum::serve(gate, goods, stock).await?,
        Framework::Actix => stacks::actix::serve(gate, goods, stock)?,
        Framework::Poem => stacks::poem::serve(gate, goods, stock)?,
        Framework::Tower => stacks::tower::serve(gate, goods, stock).await?,
    };
    Ok(if stack.wire == Wire::Http2 { serving.over_http2() } else { serving })
}

impl Shop {
    /// The whole shop.
    pub async fn open(stack: Stack, script: Script) -> Self {
        Self::open_with(stack, script, |gate| gate.header_alias(ALIAS)).await
    }

    /// The whole shop, its gate set up like this.
    pub async fn open_with(
        stack: Stack,
        script: Script,
        set_up: impl FnOnce(GateBuilder) -> GateBuilder,
    ) -> Self {
        Self::stocked(stack, script, set_up, Stock::Priced(shelves())).await
    }

    /// A shop that sells `/cheap` for this.
    pub async fn selling(stack: Stack, script: Script, charge: Charge) -> Self {
        Self::selling_with(stack, script, |gate| gate, charge).await
    }

    /// A shop that sells `/cheap` for this, its gate set up like this.
    pub async fn selling_with(
        stack: Stack,
        script: Script,
        set_up: impl FnOnce(GateBuilder) -> GateBuilder,
        charge: Charge,
    ) -> Self {
        let shop = Self::early(stack, script, set_up, charge).await;
        shop.gate.ready().await.unwrap();
        shop
    }

    /// The same, before the facilitator told what it supports.
    pub async fn early(
        stack: Stack,
        script: Script,
        set_up: impl FnOnce(GateBuilder) -> GateBuilder,
        charge: Charge,
    ) -> Self {
        let cheap = Shelf { charge: Some(charge), ..of_everything("/cheap") };
        Self::build(stack, script, set_up, Stock::Priced(vec![cheap])).await.unwrap()
    }

    /// `/cheap`, `/dear`, `/dear/{id}` and `/free`, priced by a table in the framework's own words.
    pub async fn listed(stack: Stack, table: RouteTable) -> Self {
        Self::stocked(stack, Script::new(), |gate| gate, Stock::Listed(unpriced(), table)).await
    }

    /// A shop with a stock of its own.
    pub async fn stocked(
        stack: Stack,
        script: Script,
        set_up: impl FnOnce(GateBuilder) -> GateBuilder,
        stock: Stock,
    ) -> Self {
        let shop = Self::build(stack, script, set_up, stock).await.unwrap();
        shop.gate.ready().await.unwrap();
        shop
    }

    /// The same, before the facilitator told what it supports, and where the stock may be wrong.
    pub async fn build(
        stack: Stack,
        script: Script,
        set_up: impl FnOnce(GateBuilder) -> GateBuilder,
        stock: Stock,
    ) -> Result<Self, ConfigError> {
        let gate = set_up(gate(script.clone())).build().unwrap();
        let goods = Goods::default();
        let serving = serve(stack, &gate, &goods, stock).await?;
        Ok(Self::around(stack, script, gate, goods, serving))
    }

    /// A shop that is already open.
    pub fn around(stack: Stack, script: Script, gate: PaymentGate, goods: Goods, serving: Serving) -> Self {
        let (visits, polls) = (goods.visits.clone(), goods.polls.clone());
        Self { stack, script, gate, serving, goods, visits, polls }
    }
}
