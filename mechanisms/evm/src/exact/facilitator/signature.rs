//! Whose signature it is, held as strictly as tokens hold it.

use alloy::sol_types::{SolCall, SolValue};
use alloy_primitives::{Address, B256, Bytes, Signature, U256, b256, uint};

use crate::{
    chain::{Fault, Rpc, contracts::Eip1271},
    eip3009::plain_signature,
};
use alloy::rpc::types::TransactionRequest;

/// What an EIP-6492 signature ends in.
const EIP6492_MAGIC: B256 = b256!("6492649264926492649264926492649264926492649264926492649264926492");
/// The larger half of s is refused (EIP-2): the other s signs the same, and would be a second form of one payment.
const HALF_ORDER: U256 = uint!(0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0_U256);

/// A signature of an account without code, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Vrs {
    pub(super) v: u8,
    pub(super) r: B256,
    pub(super) s: B256,
}

impl Vrs {
    /// A signature that recovers to this account, in any of its forms, with the smaller s.
    pub(super) fn of(signature: &[u8], hash: B256, account: Address) -> Option<Self> {
        let bytes = plain_signature(signature)?;
        let (r, s, v) = (B256::from_slice(&bytes[..32]), B256::from_slice(&bytes[32..64]), bytes[64]);
        if U256::from_be_bytes(s.0) > HALF_ORDER {
            return None;
        }
        let recovered =
            Signature::from_scalars_and_parity(r, s, v == 28).recover_address_from_prehash(&hash).ok()?;
        (recovered == account && !account.is_zero()).then_some(Self { v, r, s })
    }
}

/// Whether this is a signature for a wallet that may not be deployed yet.
pub(super) fn is_wrapped(signature: &[u8]) -> bool {
    signature.ends_with(EIP6492_MAGIC.as_slice())
}

/// The signature the wallet itself checks: what is inside the wrapper, if there is one.
pub(super) fn unwrapped(signature: &Bytes) -> Option<Bytes> {
    let Some(wrapped) = signature.strip_suffix(EIP6492_MAGIC.as_slice()) else {
        return Some(signature.clone());
    };
    let (_factory, _deployment, inner) = <(Address, Bytes, Bytes)>::abi_decode_params(wrapped).ok()?;
    Some(inner)
}

/// Asks the wallet (EIP-1271). A wallet that reverts, or says anything but the one word, says no.
pub(super) async fn wallet_accepts(
    rpc: &Rpc,
    wallet: Address,
    hash: B256,
    signature: &Bytes,
    max_gas: u64,
) -> Result<bool, Fault> {
    let input = Eip1271::isValidSignatureCall { hash, signature: signature.clone() }.abi_encode();
    let call = TransactionRequest::default().to(wallet).input(input.into()).gas_limit(max_gas);
    let mut yes = B256::ZERO;
    yes[..4].copy_from_slice(&Eip1271::isValidSignatureCall::SELECTOR);
    match rpc.call(&call).await {
        Ok(answer) => Ok(answer.get(..32) == Some(yes.as_slice())),
        Err(fault) if fault.is_revert() => Ok(false),
        Err(fault) => Err(fault),
    }
}
