//! What is sent, and what becomes of it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use alloy::consensus::SignableTransaction;
use alloy::network::TxSigner;
use alloy::primitives::Signature;

use super::support::*;

#[tokio::test]
async fn a_failed_send_leaves_no_gap() {
    let (chain, facilitator) = start().await;
    settled(facilitator.settle((&signed(Version::V2, &requirements()).await).into()).await.unwrap());

    let account = chain::facilitator().address();
    chain.set_ether(account, U256::ZERO).await.unwrap();
    let late = signed(Version::V2, &requirements()).await;
    let error = facilitator.settle((&late).into()).await.unwrap_err();
    assert!(!error.may_have_acted(), "{error}");
    assert!(error.to_string().to_lowercase().contains("insufficient funds"), "{error}");

    chain.set_ether(account, U256::from(10).pow(U256::from(18))).await.unwrap();
    settled(facilitator.settle((&late).into()).await.unwrap());
    settled(facilitator.settle((&signed(Version::V2, &requirements()).await).into()).await.unwrap());
    assert_eq!(chain.nonce(account).await.unwrap(), 3);
}

#[tokio::test]
async fn a_nonce_used_elsewhere_is_noticed() {
    let (chain, facilitator) = start().await;
    settled(facilitator.settle((&signed(Version::V2, &requirements()).await).into()).await.unwrap());
    send_as(&chain, chain::facilitator(), chain::stranger().address(), vec![]).await;
    settled(facilitator.settle((&signed(Version::V2, &requirements()).await).into()).await.unwrap());
    assert_eq!(chain.nonce(chain::facilitator().address()).await.unwrap(), 3);
}

#[tokio::test]
async fn what_is_not_mined_is_pending_and_then_settled() {
    let (chain, facilitator) = start().await;
    let facilitator = facilitator.receipt_timeout(Duration::from_millis(300));
    chain.set_automine(false).await.unwrap();
    let payment = signed(Version::V2, &requirements()).await;
    let pending = facilitator.settle((&payment).into()).await.unwrap();
    assert!(matches!(pending, SettleResponse::Pending(_)), "{pending:?}");
    assert_eq!(facilitator.settle((&payment).into()).await.unwrap(), pending, "nothing else is sent");
    assert_eq!(chain.pending().await.unwrap(), 1);

    let mut forged = payment.clone();
    forged.payload.payload["signature"] = Bytes::from(sign(&authorization(1)).to_vec()).to_string().into();
    refused_settle(&facilitator, &forged, &reasons::SIGNATURE).await;
    chain.mine().await.unwrap();
    refused_settle(&facilitator, &forged, &reasons::SIGNATURE).await;
    assert_eq!(settled(facilitator.settle((&payment).into()).await.unwrap()), hash_of(&pending));
    assert_eq!(chain.transfers(chain::merchant().address()).await.unwrap(), 1);
}

#[tokio::test]
async fn a_forgotten_transaction_is_sent_again_as_it_was() {
    let (chain, facilitator) = start().await;
    let facilitator = facilitator.receipt_timeout(Duration::from_millis(300));
    chain.set_automine(false).await.unwrap();
    let payment = signed(Version::V2, &requirements()).await;
    let pending = facilitator.settle((&payment).into()).await.unwrap();
    chain.drop_pending().await.unwrap();
    chain.set_automine(true).await.unwrap();
    assert_eq!(settled(facilitator.settle((&payment).into()).await.unwrap()), hash_of(&pending));
    assert_eq!(chain.nonce(chain::facilitator().address()).await.unwrap(), 1);
}

#[tokio::test]
async fn a_gap_is_filled_and_the_displaced_payment_still_settles() {
    let (chain, facilitator) = start().await;
    let facilitator = facilitator.receipt_timeout(Duration::from_millis(300));
    chain.set_automine(false).await.unwrap();
    let displaced = signed(Version::V2, &requirements()).await;
    let first = facilitator.settle((&displaced).into()).await.unwrap();
    assert!(matches!(first, SettleResponse::Pending(_)), "{first:?}");
    chain.drop_pending().await.unwrap();
    chain.set_automine(true).await.unwrap();
    // Takes the forgotten transaction's place in the account's order.
    settled(facilitator.settle((&signed(Version::V2, &requirements()).await).into()).await.unwrap());
    assert_ne!(settled(facilitator.settle((&displaced).into()).await.unwrap()), hash_of(&first));
    assert_eq!(chain.transfers(chain::merchant().address()).await.unwrap(), 2);
    assert_eq!(chain.nonce(chain::facilitator().address()).await.unwrap(), 2);
}

#[tokio::test]
async fn deeper_confirmation_is_waited_for() {
    let (chain, facilitator) = start().await;
    let facilitator = facilitator.confirmations(3).receipt_timeout(Duration::from_millis(300));
    let payment = signed(Version::V2, &requirements()).await;
    let pending = facilitator.settle((&payment).into()).await.unwrap();
    assert!(matches!(pending, SettleResponse::Pending(_)), "{pending:?}");
    chain.mine().await.unwrap();
    assert_eq!(facilitator.settle((&payment).into()).await.unwrap(), pending);
    chain.mine().await.unwrap();
    assert_eq!(settled(facilitator.settle((&payment).into()).await.unwrap()), hash_of(&pending));
}

/// Signs when it is told to.
struct SlowSigner {
    signer: PrivateKeySigner,
    hangs: Arc<AtomicBool>,
}

impl TxSigner<Signature> for SlowSigner {
    fn address(&self) -> Address {
        TxSigner::address(&self.signer)
    }

    fn sign_transaction<'s, 't, 'f>(
        &'s self,
        transaction: &'t mut dyn SignableTransaction<Signature>,
    ) -> Pin<Box<dyn Future<Output = alloy::signers::Result<Signature>> + Send + 'f>>
    where
        's: 'f,
        't: 'f,
    {
        Box::pin(async move {
            if self.hangs.load(Ordering::SeqCst) {
                std::future::pending().await
            }
            self.signer.sign_transaction(transaction).await
        })
    }
}

#[tokio::test]
async fn a_signer_that_hangs_holds_nobody_up() {
    let (chain, _) = start().await;
    let hangs = Arc::new(AtomicBool::new(true));
    let signer = SlowSigner { signer: chain::facilitator(), hangs: hangs.clone() };
    let facilitator = ExactFacilitator::connect(chain.rpc_url(), Network::evm(BASE_SEPOLIA), signer)
        .unwrap()
        .call_timeout(Duration::from_millis(500));
    let (first, second) =
        (signed(Version::V2, &requirements()).await, signed(Version::V2, &requirements()).await);
    let (one, other) =
        tokio::join!(facilitator.settle((&first).into()), facilitator.settle((&second).into()));
    for error in [one.unwrap_err(), other.unwrap_err()] {
        assert!(!error.may_have_acted() && error.to_string().contains("signer"), "{error}");
    }
    hangs.store(false, Ordering::SeqCst);
    settled(facilitator.settle((&first).into()).await.unwrap());
    settled(facilitator.settle((&second).into()).await.unwrap());
    assert_eq!(chain.nonce(chain::facilitator().address()).await.unwrap(), 2);
}
