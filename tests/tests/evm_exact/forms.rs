//! A signature comes in several forms, and is one payment in each.

use super::support::*;

/// 65 bytes, 64 bytes (EIP-2098), and v as the parity alone; of both parities, which are drawn by lot.
#[tokio::test]
async fn every_form_of_a_signature_settles_once() {
    let (chain, facilitator) = start().await;
    let mut met = [false; 2];
    for nonce in 1.. {
        if nonce > 3 && met == [true; 2] {
            break;
        }
        let message = authorization(nonce);
        let usual = sign(&message);
        let mut bare = usual;
        bare[64] -= 27;
        met[usize::from(bare[64])] = true;
        let mut forms = [usual.to_vec(), compact(&usual).to_vec(), bare.to_vec()];
        forms.rotate_left(usize::from(nonce) % 3);
        let payments = forms.map(|form| payment(Version::V2, &requirements(), payload(&message, &form)));
        for payment in &payments {
            let verified = facilitator.verify(payment).await.unwrap();
            assert!(matches!(verified, VerifyResponse::Valid { .. }), "{verified:?}");
        }
        let mut hashes = std::collections::HashSet::new();
        for payment in &payments {
            hashes.insert(settled(facilitator.settle(payment.into()).await.unwrap()));
        }
        assert_eq!(hashes.len(), 1, "one transaction, and one answer");
        assert_eq!(chain.transfers(chain::merchant().address()).await.unwrap(), usize::from(nonce));
    }
}
