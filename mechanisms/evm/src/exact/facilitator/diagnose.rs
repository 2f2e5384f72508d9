//! Why a transfer fails, found out from the token's state: the texts of reverts differ from token to token.

use alloy::sol_types::{SolCall, SolEvent, SolValue};
use alloy_primitives::{Address, B256, U256};
use x402_core::payment::Reason;

use super::{
    ExactFacilitator,
    checks::{Asked, Stop},
};
use crate::{
    chain::{Fault, Log, Receipt, Rpc, contracts::Eip3009},
    eip3009::Authorization,
    exact::reasons,
};

/// How many blocks at once, and how often, an authorization's use is looked for in each direction. Endpoints limit the
/// range of a search, some to ten blocks.
const SEARCHES: [(u64, u64); 3] = [(5_000, 1), (500, 4), (10, 30)];
/// How many calls a search takes at most: where the wider ranges are refused at once, the narrowest from the head,
pub(super) const MOST_CALLS_FROM_HEAD: u32 = 1 + 1 + 30;
/// and around a block in both directions as well.
pub(super) const MOST_CALLS: u32 = 1 + 1 + 3 * 30;

impl ExactFacilitator {
    pub(super) async fn diagnose(&self, asked: &Asked) -> Result<Reason, Stop> {
        let token = asked.terms.token;
        let from = asked.authorization.from;
        let used_call =
            Eip3009::authorizationStateCall { authorizer: from, nonce: asked.authorization.nonce };
        let balance_call = Eip3009::balanceOfCall { account: from };
        let (used, head, name, version, separator, balance) = tokio::join!(
            self.rpc.view(token, &used_call),
            self.rpc.head(),
            self.rpc.view(token, &Eip3009::nameCall {}),
            self.rpc.view(token, &Eip3009::versionCall {}),
            self.rpc.view(token, &Eip3009::DOMAIN_SEPARATORCall {}),
            self.rpc.view(token, &balance_call),
        );
        let stop = |fault: Fault| self.stop(&fault);
        match used.map_err(stop)? {
            None => return Ok(reasons::EIP3009_NOT_SUPPORTED),
            Some(true) => return Ok(reasons::NONCE_ALREADY_USED),
            Some(false) => {}
        }
        // The token goes by the newest block's time (EIP-3009), which is not ours to the second.
        let now = U256::from(head.map_err(stop)?.timestamp);
        if asked.authorization.valid_before <= now {
            return Ok(reasons::VALID_BEFORE);
        }
        if asked.authorization.valid_after >= now {
            return Ok(reasons::VALID_AFTER);
        }
        let (name, version) = (name.map_err(stop)?, version.map_err(stop)?);
        let separator = separator.map_err(stop)?;
        // The separator is what counts: a token may be renamed and keep it.
        if separator != Some(asked.domain.separator()) {
            if name.is_some_and(|name| name != asked.name) {
                return Ok(reasons::TOKEN_NAME_MISMATCH);
            }
            if version.is_some_and(|version| version != asked.eip712_version) {
                return Ok(reasons::TOKEN_VERSION_MISMATCH);
            }
            if separator.is_some() {
                return Ok(reasons::TOKEN_NAME_MISMATCH);
            }
        }
        match balance.map_err(stop)? {
            Some(balance) if balance < asked.authorization.value => Ok(reasons::INSUFFICIENT_BALANCE),
            _ => Ok(reasons::SIMULATION_FAILED),
        }
    }

    /// The transaction in which this very authorization moved the money, whoever sent it: once signed, anyone may.
    /// Looks at the state after this block, or at the latest, and all that at one endpoint.
    pub(super) async fn made_at(
        &self,
        endpoint: &Rpc,
        asked: &Asked,
        block: Option<u64>,
        evidence: Evidence,
    ) -> Result<Made, Fault> {
        let token = asked.terms.token;
        let (authorizer, nonce) = (asked.authorization.from, asked.authorization.nonce);
        let state = Eip3009::authorizationStateCall { authorizer, nonce };
        let used = match (endpoint.view_at(token, &state, block).await, block) {
            // Few nodes keep the states of older blocks. A newer one will do, if this node has it.
            (Err(fault), Some(block)) if fault.answer().is_some() => {
                if endpoint.head().await?.number < block {
                    return Err(fault);
                }
                endpoint.view(token, &state).await?
            }
            (used, _) => used?,
        };
        if used != Some(true) {
            return Ok(Made::No);
        }
        let near = match evidence {
            Evidence::Words => None,
            Evidence::Logs { near } => near,
        };
        let hash = match find(endpoint, token, (authorizer, nonce), near).await? {
            Some(Use::Transaction(hash)) => hash,
            Some(Use::Cancelled) => return Ok(Made::Cancelled),
            // What we have not sent may be an old one that comes again.
            None if evidence == Evidence::Words => return Ok(Made::No),
            None => return Err(Fault::lost_log()),
        };
        let (receipt, input) = tokio::try_join!(endpoint.receipt(hash), endpoint.input(hash))?;
        let (Some(receipt), Some(input)) = (receipt, input) else { return Err(Fault::lost_transaction()) };
        let under = moved_under_authorization(&receipt, asked);
        let paid = receipt.succeeded()
            && match carried(&input, &asked.authorization) {
                Carried::Ours => under.is_some(),
                Carried::Another => false,
                Carried::Nothing => evidence != Evidence::Words && under == Some(Under::AtOnce),
            };
        Ok(if paid { Made::By(hash) } else { Made::No })
    }
}

/// What became of an authorization without us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Made {
    /// It has not moved the money, as far as can be seen.
    No,
    /// It moved the money in this transaction.
    By(B256),
    /// Its payer has withdrawn it: it never will.
    Cancelled,
}

/// What all endpoints say: that the payment was made is believed of any, that its payer has withdrawn it of all.
pub(super) fn among(found: Vec<Result<Made, Fault>>) -> Result<Made, Fault> {
    if let Some(made) = found.iter().flatten().find(|made| matches!(made, Made::By(_))) {
        return Ok(*made);
    }
    let found = found.into_iter().collect::<Result<Vec<_>, _>>()?;
    let is_cancelled = !found.is_empty() && found.iter().all(|made| *made == Made::Cancelled);
    Ok(if is_cancelled { Made::Cancelled } else { Made::No })
}

/// What made an authorization's nonce used.
enum Use {
    Transaction(B256),
    /// The payer has withdrawn it.
    Cancelled,
}

/// Looks for the log of it around this block, and back from the head.
async fn find(
    endpoint: &Rpc,
    token: Address,
    (authorizer, nonce): (Address, B256),
    near: Option<u64>,
) -> Result<Option<Use>, Fault> {
    let events = [Eip3009::AuthorizationUsed::SIGNATURE_HASH, Eip3009::AuthorizationCanceled::SIGNATURE_HASH];
    let topics = (events, authorizer.into_word(), nonce);
    let head = endpoint.block_number().await?;
    let near = near.map(|block| block.min(head));
    let mut refused = None;
    'search: for (blocks, times) in SEARCHES {
        let back = |last: u64| {
            let ends = (0..times).map_while(move |time| last.checked_sub(time * blocks));
            ends.map(move |to| (to.saturating_sub(blocks - 1), to))
        };
        let on = |first: u64| {
            let starts = (0..times).map(move |time| first + time * blocks).take_while(|from| *from <= head);
            starts.map(move |from| (from, head.min(from + blocks - 1)))
        };
        let around = near.into_iter().flat_map(|block| back(block).chain(on(block + 1)));
        let reached = near.is_some_and(|block| head - block <= blocks * times);
        let from_head = (!reached).then(|| back(head)).into_iter().flatten();
        let mut widest = None;
        for (from, to) in around.chain(from_head) {
            match endpoint.logs(token, &topics, from, to).await {
                Ok(logs) => {
                    widest = widest.max(Some(to - from));
                    let cancelled = |log: &Log| {
                        log.address == token
                            && log.decode::<Eip3009::AuthorizationCanceled>().is_some_and(|cancelled| {
                                cancelled.authorizer == authorizer && cancelled.nonce == nonce
                            })
                    };
                    if logs.iter().any(cancelled) {
                        return Ok(Some(Use::Cancelled));
                    }
                    if let Some(hash) = logs.iter().find_map(|log| log.transaction_hash) {
                        return Ok(Some(Use::Transaction(hash)));
                    }
                }
                Err(fault) if Some(to - from) > widest && fault.answer().is_some() => {
                    refused = Some(fault);
                    continue 'search;
                }
                Err(fault) => return Err(fault),
            }
        }
        return Ok(None);
    }
    refused.map_or(Ok(None), Err)
}

/// What shows that a transaction of somebody else's made a payment.
///
/// A log names no more than the payer and the nonce, and a payer may sign many authorizations with one nonce, of which
/// one moves money: they must not all be paid by the one that was used. The transfer that follows the use in the log
/// tells the payee and the amount. What it does not tell is the period for which the one that was used is valid: two
/// that differ in that alone are two payments, and there is one transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Evidence {
    /// This very authorization, in words, in the calldata. Whoever comes with another one is told no.
    Words,
    /// The log is enough, unless the calldata has another one in words: it may be packed or compressed there. Only for
    /// what we have sent ourselves: then the journal has this authorization in the one place that there is for its
    /// nonce, so that no other one can be paid by the same transfer, now or later. One that was not sent any more,
    /// since the nonce was used by then, has to show its words.
    ///
    /// The log of what we have sent is looked for around this block, too, and must be found: if the nonce is used,
    /// somebody used it.
    Logs { near: Option<u64> },
}

/// What calldata hands a token, be it within other calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Carried {
    /// This very authorization, and no other of its kind.
    Ours,
    /// Another one with the same payer, payee, amount and nonce.
    Another,
    Nothing,
}

fn carried(input: &[u8], authorization: &Authorization) -> Carried {
    let Authorization { from, to, value, valid_after, valid_before, nonce } = *authorization;
    let ours = (from, to, value, valid_after, valid_before, nonce).abi_encode();
    // The payer, the payee and the amount; the period is between; the nonce.
    let (transfer, period) = (3 * 32, 5 * 32);
    let candidates = (0..=input.len().saturating_sub(ours.len())).filter_map(|at| {
        let words = input.get(at..at + ours.len())?;
        let alike = words[..transfer] == ours[..transfer] && words[period..] == ours[period..];
        alike.then(|| (&input[at.saturating_sub(4)..at], words))
    });
    let mut carried = Carried::Nothing;
    for (selector, words) in candidates {
        if words != ours || RECEIVE.contains(&selector) {
            return Carried::Another;
        }
        carried = Carried::Ours;
    }
    carried
}

/// Takes the same words, signed as another message.
const RECEIVE: [&[u8]; 2] =
    [&Eip3009::receiveWithAuthorization_0Call::SELECTOR, &Eip3009::receiveWithAuthorization_1Call::SELECTOR];

/// Whether the token reports exactly the asked transfer.
pub(super) fn moved(receipt: &Receipt, asked: &Asked) -> bool {
    transfers(receipt, asked.terms.token).any(|(_, transfer)| is_asked(&transfer, asked))
}

/// How a transfer follows the use of its authorization in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Under {
    AtOnce,
    Later,
}

/// The same for a transaction that may hold other transfers: ours is the first one after the use of the
/// authorization.
fn moved_under_authorization(receipt: &Receipt, asked: &Asked) -> Option<Under> {
    let (authorizer, nonce) = (asked.authorization.from, asked.authorization.nonce);
    let used = receipt.logs.iter().position(|log| {
        log.address == asked.terms.token
            && log
                .decode::<Eip3009::AuthorizationUsed>()
                .is_some_and(|used| used.authorizer == authorizer && used.nonce == nonce)
    })?;
    let (at, transfer) = transfers(receipt, asked.terms.token).find(|(at, _)| *at > used)?;
    is_asked(&transfer, asked).then_some(if at == used + 1 { Under::AtOnce } else { Under::Later })
}

fn is_asked(transfer: &Eip3009::Transfer, asked: &Asked) -> bool {
    transfer.from == asked.authorization.from
        && transfer.to == asked.terms.pay_to
        && transfer.value == asked.amount
}

fn transfers(receipt: &Receipt, token: Address) -> impl Iterator<Item = (usize, Eip3009::Transfer)> {
    let logs = receipt.logs.iter().enumerate().filter(move |(_, log)| log.address == token);
    logs.filter_map(|(at, log)| Some((at, log.decode()?)))
}
