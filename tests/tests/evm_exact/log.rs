//! What the binary logs at the most talkative level: everything that it does, and no payment.

use std::process::Stdio;

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::Command,
};
use x402_core::facilitator::Facilitator;
use x402_facilitator::RemoteFacilitator;
use x402_tests::{
    process::FacilitatorBinary,
    stores::{Postgres, Redis},
};

use super::support::*;

#[tokio::test]
async fn no_payment_is_in_the_log_of_the_binary_at_its_most_talkative() {
    let (redis, postgres) = (Redis::start().await.unwrap(), Postgres::start().await.unwrap());
    for store in ["memory:".to_owned(), redis.url(), postgres.database().await.unwrap()] {
        let (chain, _) = start().await;
        let key = chain::private_key(&chain::facilitator());
        let mut binary = Command::new(FacilitatorBinary::path().unwrap())
            .env_clear()
            .envs([
                ("PORT", "0"),
                ("EVM_NETWORKS", "base-sepolia"),
                ("EVM_RPC_URL_BASE_SEPOLIA", chain.rpc_url().as_str()),
                ("EVM_PRIVATE_KEY", &key),
                ("STORE_URL", &store),
                ("RUST_LOG", "trace,hyper=trace,alloy_rpc_client=trace,sqlx::query=trace"),
            ])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut stderr = binary.stderr.take().unwrap();
        // Read all the while, or the binary would wait for room.
        let log = tokio::spawn(async move {
            let mut log = Vec::new();
            stderr.read_to_end(&mut log).await.map(|_| String::from_utf8_lossy(&log).into_owned())
        });
        let mut line = String::new();
        BufReader::new(binary.stdout.take().unwrap()).read_line(&mut line).await.unwrap();
        let url = line.trim().rsplit(' ').next().unwrap();

        let remote = RemoteFacilitator::new(url).unwrap();
        let payment = signed(Version::V2, &requirements()).await;
        let verified = remote.verify(&payment).await.unwrap();
        assert!(matches!(verified, VerifyResponse::Valid { .. }), "{verified:?}");
        let hash = settled(remote.settle((&payment).into()).await.unwrap());
        let mut forged = with(&authorization(9));
        forged.payload.payload["signature"] = json!(format!("0x{}", "5e".repeat(65)));
        assert!(matches!(remote.verify(&forged).await.unwrap(), VerifyResponse::Invalid(_)));
        assert!(matches!(remote.settle((&forged).into()).await.unwrap(), SettleResponse::Failed(_)));
        binary.kill().await.unwrap();

        let log = log.await.unwrap().unwrap().to_lowercase();
        assert!(log.contains("settled") && log.contains(&hash.to_string()), "the log is there: {log}");
        let payer = chain::payer().address().to_string().to_lowercase();
        for outcome in ["\"valid\"", "\"settled\"", "\"invalid_exact_evm_signature\""] {
            let is_told = |line: &str| {
                [" request ", "network=eip155:84532", &payer].iter().all(|part| line.contains(part))
                    && line.contains(&format!("outcome={outcome}"))
            };
            assert!(log.lines().any(is_told), "{outcome} of {payer} is in a request's line: {log}");
        }
        assert!(log.contains("payment refused"), "of our own crates all is logged: {log}");
        let text = |pointer: &str| {
            payment.payload.payload.pointer(pointer).unwrap().as_str().unwrap()[2..].to_owned()
        };
        let signature = text("/signature").to_lowercase();
        let decimal = |half: &str| {
            let bytes: B256 = half.parse().unwrap();
            bytes.iter().take(8).map(u8::to_string).collect::<Vec<_>>().join(", ")
        };
        for (what, secret) in [
            ("the signature's r", signature[..64].to_owned()),
            ("the signature's s", signature[64..128].to_owned()),
            ("the signature in bytes", decimal(&signature[..64])),
            ("the nonce", text("/authorization/nonce").to_lowercase()),
            ("a forged signature", "5e".repeat(16)),
            ("the payload", "validbefore".to_owned()),
            ("the request", "paymentpayload".to_owned()),
            ("calls of the node", "eth_sendrawtransaction".to_owned()),
            ("the private key", key.trim_start_matches("0x").to_lowercase()),
        ] {
            assert!(!log.contains(&secret), "the log holds {what}, with {store}: {log}");
        }
    }
}
