//! What was sent, and what came of it: in a store, so that it outlives this process and is the same for all that share
//! the store.
//!
//! There is one record for a token, a payer and a nonce, since of all authorizations with these a token lets one be
//! used. Whoever puts the record there sends; all others look what became of the transaction that it names, and send
//! nothing else while that one may yet be mined. A transaction is written down before it leaves. So whatever a crash
//! leaves is one of: no record, and nothing was sent; a record with a transaction, which is on its way, or can be sent
//! again byte for byte; a record with the answer.

use std::time::Duration;

use alloy_primitives::Address;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::timeout;
use tracing::{error, warn};
use x402_core::{
    network::Network,
    payment::{SettleResponse, Version},
    store::{
        AnyClaimStore, ClaimStore, Key, MemoryStore, Record, Stamp, StoreError, StoreErrorKind, Stored,
        Swapped,
    },
    wire,
};

use super::{
    checks::Asked,
    disclosure::{Caller, Disclosure},
};
use crate::{
    chain::Sent,
    eip3009::{Domain, Payload},
    exact::terms::Terms,
};

/// How long to wait for each answer of the store.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a writing is tried whose outcome is unknown. Its stamp tells whether it happened.
const TRIES: usize = 3;
const PAUSE: Duration = Duration::from_millis(100);

/// An answer is kept for so long after its authorization has expired,
const KEPT_AFTER: Duration = Duration::from_secs(3_600);
/// and an authorization that is valid for longer than this is taken to expire then: what is older is found on chain.
const LONGEST_VALIDITY: u64 = 7 * 24 * 3_600;
/// What was sent is kept until something came of it, but not forever.
const OPEN_KEPT: Duration = Duration::from_secs(365 * 24 * 3_600);

#[derive(Clone)]
pub(super) struct Journal {
    store: AnyClaimStore,
    space: String,
    chain_id: u64,
}

/// What is written about a payment.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) id: String,
    pub(super) asked: Asked,
    pub(super) step: Step,
    /// Who may hear what came of it.
    pub(super) disclosure: Disclosure,
    stamp: Stamp,
}

/// How far it came.
#[derive(Clone)]
pub(super) enum Step {
    /// This was sent, or may have been, or was about to be.
    Sent(Sent),
    /// It has its answer.
    Done(SettleResponse),
}

/// What came of a writing.
pub(super) enum Written {
    Done(Entry),
    /// Something else is there, or nothing.
    Lost(Option<Entry>),
}

impl Entry {
    /// Who may hear of it: as it stands for this authorization, or else this caller begins it.
    pub(super) fn disclosure_of(over: Option<&Self>, asked: &Asked, caller: &Caller) -> Disclosure {
        let same = over.filter(|entry| entry.asked.hash == asked.hash);
        same.map_or_else(|| Disclosure::to(caller), |entry| entry.disclosure.clone())
    }

    /// What was sent for this authorization, if it has no answer yet.
    pub(super) fn sent_for(&self, asked: &Asked) -> Option<&Sent> {
        match &self.step {
            Step::Sent(sent) if self.asked.hash == asked.hash => Some(sent),
            _ => None,
        }
    }
}

impl Journal {
    /// In this process.
    pub(super) fn in_memory(network: &Network, chain_id: u64) -> Self {
        Self::over(MemoryStore::new(), network, chain_id)
    }

    pub(super) fn over(store: impl ClaimStore, network: &Network, chain_id: u64) -> Self {
        Self { store: AnyClaimStore::new(store), space: format!("settle:{network}"), chain_id }
    }

    /// The record of this payment, or of another one with its nonce.
    pub(super) async fn find(&self, asked: &Asked) -> Result<Option<Entry>, StoreError> {
        self.find_by_id(&id(asked)).await
    }

    pub(super) async fn find_by_id(&self, id: &str) -> Result<Option<Entry>, StoreError> {
        let key = Key::new(self.space.clone(), id);
        let stored = in_time(self.store.load(&key)).await?;
        stored.map(|stored| self.read(id, &stored)).transpose()
    }

    /// What was sent and has no answer yet.
    pub(super) async fn open(&self) -> Result<Vec<Entry>, StoreError> {
        let stored = in_time(self.store.open(&self.space)).await?;
        let entries = stored.iter().filter_map(|(id, stored)| match self.read(id, stored) {
            Ok(entry) => Some(entry),
            // Nobody would settle anything if one of them stood in everyone's way.
            Err(failure) => {
                error!(id, %failure, "an open settlement cannot be read");
                None
            }
        });
        Ok(entries.collect())
    }

    /// Writes how far a payment came, in the place of what was seen there.
    pub(super) async fn write(
        &self,
        asked: &Asked,
        seen: Option<&Entry>,
        step: Step,
        disclosure: Disclosure,
        now: u64,
    ) -> Result<Written, StoreError> {
        let id = id(asked);
        let record = record(asked, &step, &disclosure, now);
        let stamp = record.stamp;
        Ok(match self.swap(&id, seen, Some(record)).await? {
            Swapped::Done => Written::Done(Entry { id, asked: asked.clone(), step, disclosure, stamp }),
            Swapped::Lost(found) => Written::Lost(found.map(|found| self.read(&id, &found)).transpose()?),
        })
    }

    /// Takes away what came to nothing, and puts back what was there before. `false`: somebody has taken it up meanwhile.
    pub(super) async fn take_away(
        &self,
        entry: &Entry,
        before: Option<&Entry>,
        now: u64,
    ) -> Result<bool, StoreError> {
        let before = before.map(|before| record(&before.asked, &before.step, &before.disclosure, now));
        Ok(match self.swap(&entry.id, Some(entry), before).await? {
            Swapped::Done | Swapped::Lost(None) => true,
            Swapped::Lost(Some(_)) => false,
        })
    }

    async fn swap(
        &self,
        id: &str,
        seen: Option<&Entry>,
        next: Option<Record>,
    ) -> Result<Swapped, StoreError> {
        let key = Key::new(self.space.clone(), id);
        let seen = seen.map(|entry| entry.stamp);
        // What a try without an answer has begun may land yet, whatever the next one is told.
        let mut unanswered = None;
        for attempt in 1.. {
            match in_time(self.store.swap(&key, seen, next.clone())).await {
                Ok(swapped) => return Ok(swapped),
                Err(failure) if failure.kind() == StoreErrorKind::Unavailable && attempt < TRIES => {
                    warn!(%failure, "the store is asked once more");
                    tokio::time::sleep(PAUSE).await;
                    unanswered = Some(failure);
                }
                Err(failure) => return Err(unanswered.unwrap_or(failure)),
            }
        }
        unreachable!("the last try returns")
    }

    fn read(&self, id: &str, stored: &Stored) -> Result<Entry, StoreError> {
        let written = || -> Option<(Asked, Step, Disclosure)> {
            let Json { version, token, name, eip712_version, payload, sent, answer, disclosure } =
                serde_json::from_str(&stored.state).ok()?;
            let Payload { signature, authorization } = Payload::parse(&payload).ok()?;
            let domain = Domain::new(&name, &eip712_version, self.chain_id, token);
            let asked = Asked {
                version,
                terms: Terms { chain_id: self.chain_id, token, pay_to: authorization.to },
                amount: authorization.value,
                hash: domain.signing_hash(&authorization),
                name,
                eip712_version,
                domain,
                authorization,
                signature,
            };
            let step = match (sent, answer) {
                (Some(sent), None) if sent.is_whole() => Step::Sent(sent),
                (None, Some(answer)) => {
                    Step::Done(wire::decode_settle(answer.to_string().as_bytes(), None).ok()?)
                }
                _ => return None,
            };
            Some((asked, step, disclosure))
        };
        let written = written().filter(|(asked, ..)| self::id(asked) == id);
        let (asked, step, disclosure) =
            written.ok_or_else(|| StoreError::corrupt(format_args!("the settlement {id}")))?;
        Ok(Entry { id: id.to_owned(), asked, step, disclosure, stamp: stored.stamp })
    }
}

/// What is kept. The recipient and the amount are the authorization's, or it would not have come so far.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Json {
    #[serde(rename = "x402Version")]
    version: Version,
    token: Address,
    name: String,
    eip712_version: String,
    payload: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    sent: Option<Sent>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<Value>,
    #[serde(default)]
    disclosure: Disclosure,
}

fn record(asked: &Asked, step: &Step, disclosure: &Disclosure, now: u64) -> Record {
    Record {
        stamp: Stamp::new(),
        state: state(asked, step, disclosure),
        open: matches!(step, Step::Sent(_)),
        keep: match step {
            Step::Sent(_) => OPEN_KEPT,
            Step::Done(_) => {
                let expires: u64 = asked.authorization.valid_before.saturating_to();
                Duration::from_secs(expires.saturating_sub(now).min(LONGEST_VALIDITY)) + KEPT_AFTER
            }
        },
    }
}

fn state(asked: &Asked, step: &Step, disclosure: &Disclosure) -> String {
    let payload = Payload { signature: asked.signature.clone(), authorization: asked.authorization.clone() };
    let (sent, answer) = match step {
        Step::Sent(sent) => (Some(sent.clone()), None),
        Step::Done(answer) => (None, Some(wire::settle_response(Version::V2, answer))),
    };
    let json = Json {
        version: asked.version,
        token: asked.terms.token,
        name: asked.name.clone(),
        eip712_version: asked.eip712_version.clone(),
        payload: payload.to_json(),
        sent,
        answer: answer.map(|answer| serde_json::to_value(answer).expect("an answer serialises")),
        disclosure: disclosure.clone(),
    };
    serde_json::to_string(&json).expect("a record serialises")
}

/// Canonical: one spelling for one payment.
pub(super) fn id(asked: &Asked) -> String {
    let (payer, nonce) = (asked.authorization.from, asked.authorization.nonce);
    format!("{:#x}/{payer:#x}/{nonce:#x}", asked.terms.token)
}

async fn in_time<T>(operation: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let late = |_| StoreError::unavailable(format!("no answer within {} s", PATIENCE.as_secs()));
    timeout(PATIENCE, operation).await.map_err(late)?
}
