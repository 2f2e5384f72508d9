//! The test dollar as Rust sees it: its interface, its signed messages, what the compiler made of the sources.

// What `sol!` writes has no documentation, and as many arguments as the contracts have.
#![allow(missing_docs, clippy::too_many_arguments)]

use alloy::primitives::{Address, B256, Bytes, Signature, U256, uint};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use alloy::sol;
use alloy::sol_types::{Eip712Domain, SolStruct, eip712_domain};
use anyhow::Context;

sol! {
    /// What the token and the ill-behaved ones answer to.
    #[sol(rpc, extra_derives(Debug))]
    interface Token {
        event Transfer(address indexed from, address indexed to, uint256 value);
        event AuthorizationUsed(address indexed authorizer, bytes32 indexed nonce);
        event AuthorizationCanceled(address indexed authorizer, bytes32 indexed nonce);

        error NotYetValid(uint256 validAfter);
        error NoLongerValid(uint256 validBefore);
        error NonceSpent(address authorizer, bytes32 nonce);
        error SignatureRefused();
        error BalanceTooLow(uint256 balance, uint256 wanted);
        error AllowanceTooLow(uint256 allowance, uint256 wanted);

        function name() external view returns (string);
        function symbol() external view returns (string);
        function version() external view returns (string);
        function decimals() external view returns (uint8);
        function DOMAIN_SEPARATOR() external view returns (bytes32);
        function mint(address to, uint256 value) external;
        function balanceOf(address account) external view returns (uint256);
        function allowance(address owner, address spender) external view returns (uint256);
        function approve(address spender, uint256 value) external returns (bool);
        function transfer(address to, uint256 value) external returns (bool);
        function nonces(address owner) external view returns (uint256);
        function permit(address owner, address spender, uint256 value, uint256 deadline, uint8 v, bytes32 r, bytes32 s) external;
        function authorizationState(address authorizer, bytes32 nonce) external view returns (bool);
        function transferWithAuthorization(address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce, uint8 v, bytes32 r, bytes32 s) external;
        function transferWithAuthorization(address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce, bytes signature) external;
        function cancelAuthorization(address authorizer, bytes32 nonce, uint8 v, bytes32 r, bytes32 s) external;
        /// `SpoofToken` only: 0 wrong amount, 1 other emitter, 2 wrong recipient, 3 wrong sender.
        function tell(uint8 lie) external;
    }

    /// The message of EIP-3009.
    #[derive(Debug)]
    struct TransferWithAuthorization {
        address from;
        address to;
        uint256 value;
        uint256 validAfter;
        uint256 validBefore;
        bytes32 nonce;
    }

    /// The message of EIP-3009 that takes a nonce out of use.
    #[derive(Debug)]
    struct CancelAuthorization {
        address authorizer;
        bytes32 nonce;
    }

    /// The message of EIP-2612.
    #[derive(Debug)]
    struct Permit {
        address owner;
        address spender;
        uint256 value;
        uint256 nonce;
        uint256 deadline;
    }
}

/// The EIP-712 domain of a token.
pub fn domain(name: &'static str, version: &'static str, chain_id: u64, token: Address) -> Eip712Domain {
    eip712_domain! { name: name, version: version, chain_id: chain_id, verifying_contract: token, }
}

impl TransferWithAuthorization {
    /// An authorization without bounds in time.
    pub fn new(from: Address, to: Address, value: u64, nonce: B256) -> Self {
        Self { from, to, value: U256::from(value), validAfter: U256::ZERO, validBefore: U256::MAX, nonce }
    }
}

/// The signer's signature of a message in a domain.
pub fn sign(
    signer: &PrivateKeySigner,
    message: &impl SolStruct,
    domain: &Eip712Domain,
) -> anyhow::Result<Signature> {
    Ok(signer.sign_hash_sync(&message.eip712_signing_hash(domain))?)
}

/// The other signature of the same digest and key: s above half the curve's order, which EIP-2 rules out.
pub fn high_s(signature: &Signature) -> Signature {
    const ORDER: U256 = uint!(0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141_U256);
    Signature::new(signature.r(), ORDER - signature.s(), !signature.v())
}

/// The value of `v` on chain: 27 or 28.
pub fn v_of(signature: &Signature) -> u8 {
    27 + u8::from(signature.v())
}

/// A contract of `tests/contracts` as it was compiled.
#[derive(Debug, Clone)]
pub struct Artifact {
    /// What a transaction creates the contract with, before the constructor's arguments.
    pub bytecode: Bytes,
    /// What is at the contract's address then. Immutables are zero in it: only contracts without can be placed.
    pub deployed: Bytes,
}

impl Artifact {
    /// Reads the artifact of a contract: `TestUSDC`, `TestUSDCoin`, `TestWallet`, `SilentToken`, `SpoofToken`,
    /// `FeeToken` or `Megaphone`.
    pub fn read(contract: &str) -> anyhow::Result<Self> {
        let path = crate::at(format!("contracts/artifacts/{contract}.json"));
        let text = std::fs::read(&path).with_context(|| format!("no compiled contract {contract}"))?;
        let json: serde_json::Value = serde_json::from_slice(&text)?;
        let code = |field: &str| -> anyhow::Result<Bytes> {
            let hex = json[field].as_str().with_context(|| format!("{contract}.json: {field} is missing"))?;
            Ok(hex.parse()?)
        };
        Ok(Self { bytecode: code("bytecode")?, deployed: code("deployedBytecode")? })
    }
}
