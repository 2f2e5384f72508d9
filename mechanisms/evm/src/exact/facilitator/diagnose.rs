//! Why a transfer fails, found out from the token's state: the texts of reverts differ from token to token.

use alloy::sol_types::SolEvent;
use alloy_primitives::{Address, B256};
use x402_core::payment::Reason;

use super::{
    ExactFacilitator,
    checks::{Asked, Stop},
};
use crate::{
    chain::{Fault, Receipt, contracts::Eip3009},
    exact::reasons,
};

/// How many blocks at once, and how often, an authorization's use is looked for, going back from the head. Endpoints
/// limit the range of a search, some to ten blocks.
const SEARCHES: [(u64, u64); 3] = [(5_000, 1), (500, 4), (10, 30)];

impl ExactFacilitator {
    pub(super) async fn diagnose(&self, asked: &Asked) -> Result<Reason, Stop> {
        let token = asked.terms.token;
        let from = asked.authorization.from;
        let used_call =
            Eip3009::authorizationStateCall { authorizer: from, nonce: asked.authorization.nonce };
        let balance_call = Eip3009::balanceOfCall { account: from };
        let (used, name, version, separator, balance) = tokio::join!(
            self.rpc.view(token, &used_call),
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
    /// Looks at the state after this block, or at the latest.
    pub(super) async fn paid_by_another(
        &self,
        asked: &Asked,
        block: Option<u64>,
    ) -> Result<Option<B256>, Fault> {
        let token = asked.terms.token;
        let (authorizer, nonce) = (asked.authorization.from, asked.authorization.nonce);
        let state = Eip3009::authorizationStateCall { authorizer, nonce };
        if self.rpc.view_at(token, &state, block).await? != Some(true) {
            return Ok(None);
        }
        let topics = [Eip3009::AuthorizationUsed::SIGNATURE_HASH, authorizer.into_word(), nonce];
        let Some(hash) = self.find(token, topics).await? else { return Ok(None) };
        let Some(receipt) = self.rpc.receipt(hash).await? else { return Ok(None) };
        Ok((receipt.succeeded() && moved_under_authorization(&receipt, asked)).then_some(hash))
    }

    async fn find(&self, token: Address, topics: [B256; 3]) -> Result<Option<B256>, Fault> {
        let head = self.rpc.block_number().await?;
        let mut refused = None;
        'search: for (blocks, times) in SEARCHES {
            let mut to = head;
            for time in 0..times {
                let from = to.saturating_sub(blocks - 1);
                match self.rpc.logs(token, topics, from, to).await {
                    Ok(logs) => {
                        if let Some(hash) = logs.iter().find_map(|log| log.transaction_hash) {
                            return Ok(Some(hash));
                        }
                    }
                    Err(fault) if time == 0 && fault.answer().is_some() => {
                        refused = Some(fault);
                        continue 'search;
                    }
                    Err(fault) => return Err(fault),
                }
                if from == 0 {
                    break;
                }
                to = from - 1;
            }
            return Ok(None);
        }
        refused.map_or(Ok(None), Err)
    }
}

/// Whether the token reports exactly the asked transfer.
pub(super) fn moved(receipt: &Receipt, asked: &Asked) -> bool {
    transfers(receipt, asked.terms.token).any(|(_, transfer)| is_asked(&transfer, asked))
}

/// The same for a transaction that may hold other transfers: ours is the first one after the use of the
/// authorization.
fn moved_under_authorization(receipt: &Receipt, asked: &Asked) -> bool {
    let (authorizer, nonce) = (asked.authorization.from, asked.authorization.nonce);
    let used = receipt.logs.iter().position(|log| {
        log.address == asked.terms.token
            && log
                .decode::<Eip3009::AuthorizationUsed>()
                .is_some_and(|used| used.authorizer == authorizer && used.nonce == nonce)
    });
    let Some(used) = used else { return false };
    transfers(receipt, asked.terms.token)
        .find(|(at, _)| *at > used)
        .is_some_and(|(_, transfer)| is_asked(&transfer, asked))
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
