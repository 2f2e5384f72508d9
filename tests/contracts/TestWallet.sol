// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.28;

/// A smart wallet of one owner. It accepts (EIP-1271) what ends in the owner's 65-byte signature of the digest;
/// bytes before those are a frame it ignores, so that its signatures can have any length of 65 or more.
contract TestWallet {
    address public immutable owner;

    error NotOwner(address caller);

    constructor(address owner_) {
        owner = owner_;
    }

    function isValidSignature(bytes32 digest, bytes calldata signature) external view returns (bytes4) {
        if (signature.length < 65) return 0xffffffff;
        bytes calldata tail = signature[signature.length - 65:];
        address signer = ecrecover(digest, uint8(tail[64]), bytes32(tail[:32]), bytes32(tail[32:64]));
        return signer != address(0) && signer == owner ? this.isValidSignature.selector : bytes4(0xffffffff);
    }

    function execute(address target, bytes calldata data) external returns (bytes memory) {
        if (msg.sender != owner) revert NotOwner(msg.sender);
        (bool done, bytes memory answer) = target.call(data);
        if (!done) {
            assembly ("memory-safe") {
                revert(add(answer, 32), mload(answer))
            }
        }
        return answer;
    }
}
