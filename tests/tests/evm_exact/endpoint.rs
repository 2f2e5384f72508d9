//! An endpoint that is not what it should be.

use super::support::*;

#[tokio::test]
async fn an_endpoint_of_another_chain_is_not_used() {
    let chain = Chain::start_with(8453).await.unwrap();
    let facilitator =
        ExactFacilitator::connect(chain.rpc_url(), Network::evm(BASE_SEPOLIA), chain::facilitator()).unwrap();
    let payment = signed(Version::V2, &requirements()).await;
    let error = facilitator.verify(&payment).await.unwrap_err();
    assert_eq!(error.kind(), FacilitatorErrorKind::Internal);
    assert!(error.to_string().contains("eip155:8453"), "{error}");
    let error = facilitator.settle(&payment).await.unwrap_err();
    assert!(!error.may_have_acted(), "{error}");
}
