//! The endpoints of a chain, and which of them are asked now.
//!
//! Where there are several, one that is in trouble, busy, behind its chain or on another one is set aside, for longer
//! each time, and the next is asked. Before one is used, first or again, it has to say that it serves the chain, and how
//! far it has come. It is not believed to be ahead: one that is behind the others by number and whose newest block is
//! old as well is behind. So an endpoint that makes its height up displaces nobody.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use alloy::providers::DynProvider;
use tokio::{sync::Mutex as Turn, time::Instant};
use tracing::{info, warn};

use super::fault::Fault;

/// How long an endpoint is used before it is asked again where it stands.
const FRESH: Duration = Duration::from_secs(30);
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(60);
/// By how many blocks, and with a newest block of what age in seconds, an endpoint is behind the others.
const BEHIND: (u64, u64) = (3, 60);

pub(super) struct Endpoints {
    pub(super) all: Vec<Endpoint>,
    /// Whoever looks where they stand; the others wait for that.
    pub(super) survey: Turn<()>,
}

pub(super) struct Endpoint {
    pub(super) provider: DynProvider,
    /// `host:port`: the rest of a URL often holds a key.
    pub(super) host: Option<Arc<str>>,
    record: Mutex<Record>,
}

#[derive(Default)]
struct Record {
    standing: Standing,
    /// How often in a row it was set aside.
    rests: u32,
}

#[derive(Default)]
enum Standing {
    /// Not asked yet, or not since it was in trouble.
    #[default]
    Unknown,
    Good {
        since: Instant,
        head: Head,
    },
    Aside {
        until: Instant,
        why: Fault,
    },
}

/// An endpoint's newest block.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) number: u64,
    /// In seconds since 1970.
    pub(crate) timestamp: u64,
}

impl Endpoints {
    pub(super) fn new(all: Vec<Endpoint>) -> Self {
        Self { all, survey: Turn::default() }
    }

    /// Whether there is another one to ask.
    pub(super) fn are_several(&self) -> bool {
        self.all.len() > 1
    }

    pub(super) fn are_due(&self) -> bool {
        self.all.iter().any(Endpoint::is_due)
    }

    /// Sets aside who is behind.
    pub(super) fn compare(&self, now: u64) {
        let (blocks, age) = BEHIND;
        let heads = || self.all.iter().filter_map(|endpoint| Some((endpoint, endpoint.head()?)));
        let Some(furthest) = heads().map(|(_, head)| head.number).max() else { return };
        for (endpoint, head) in heads() {
            if head.number.saturating_add(blocks) < furthest && head.timestamp.saturating_add(age) < now {
                endpoint.set_aside(&Fault::behind(head.number, furthest));
            }
        }
    }
}

impl Endpoint {
    pub(super) fn new(provider: DynProvider, host: Option<Arc<str>>) -> Self {
        Self { provider, host, record: Mutex::default() }
    }

    pub(super) fn is_good(&self) -> bool {
        matches!(self.record().standing, Standing::Good { .. })
    }

    /// Whether it may be asked where it stands, if anyone is.
    pub(super) fn rests(&self) -> bool {
        matches!(self.record().standing, Standing::Aside { until, .. } if Instant::now() < until)
    }

    fn is_due(&self) -> bool {
        match self.record().standing {
            Standing::Unknown => true,
            Standing::Good { since, .. } => since.elapsed() >= FRESH,
            Standing::Aside { until, .. } => Instant::now() >= until,
        }
    }

    fn head(&self) -> Option<Head> {
        match self.record().standing {
            Standing::Good { head, .. } => Some(head),
            _ => None,
        }
    }

    /// Why it is not used.
    pub(super) fn trouble(&self) -> Option<Fault> {
        match &self.record().standing {
            Standing::Aside { why, .. } => Some(why.clone()),
            _ => None,
        }
    }

    pub(super) fn is_right(&self, head: Head) {
        let mut record = self.record();
        if record.rests > 0 && matches!(record.standing, Standing::Aside { .. }) {
            info!(endpoint = self.host.as_deref(), "an RPC endpoint is used again");
        }
        record.standing = Standing::Good { since: Instant::now(), head };
    }

    pub(super) fn did_well(&self) {
        self.record().rests = 0;
    }

    /// The next one who asks it finds out first whether it is still the right one.
    pub(super) fn forget(&self) {
        self.record().standing = Standing::Unknown;
    }

    /// It will not do, and there is no other.
    pub(super) fn is_wrong(&self, why: &Fault) {
        self.record().standing = Standing::Aside { until: Instant::now(), why: why.clone() };
    }

    pub(super) fn set_aside(&self, why: &Fault) {
        let mut record = self.record();
        let now = Instant::now();
        if matches!(record.standing, Standing::Aside { until, .. } if now < until) {
            return;
        }
        let rest = FIRST_REST.saturating_mul(1 << record.rests.min(16)).min(LONGEST_REST);
        record.rests += 1;
        record.standing = Standing::Aside { until: now + rest, why: why.clone() };
        let (endpoint, seconds) = (self.host.as_deref(), rest.as_secs());
        warn!(endpoint, seconds, why = %why, "an RPC endpoint is set aside");
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
