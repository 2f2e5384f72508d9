// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.28;

import {TestUSDC} from "./TestUSDC.sol";

/// Says yes to every authorization, does nothing, and claims that everyone is rich.
contract SilentToken is TestUSDC {
    function balanceOf(address) external pure override returns (uint256) {
        return type(uint128).max;
    }

    function _transferAuthorized(address, address, uint256, uint256, uint256, bytes32, bytes memory)
        internal
        override
    {}
}

/// Emits the event it is told to, from an address of its own.
contract Megaphone {
    event Transfer(address indexed from, address indexed to, uint256 value);

    function shout(address from, address to, uint256 value) external {
        emit Transfer(from, to, value);
    }
}

/// Checks and spends an authorization as it should, then lies about the transfer in its log; no money moves.
contract SpoofToken is TestUSDC {
    enum Lie {
        WrongAmount,
        OtherEmitter,
        WrongRecipient,
        WrongSender
    }

    Lie public lie;

    function tell(Lie lie_) external {
        lie = lie_;
    }

    function _move(address from, address to, uint256 value) internal override {
        if (lie == Lie.WrongAmount) {
            emit Transfer(from, to, value - 1);
        } else if (lie == Lie.OtherEmitter) {
            new Megaphone().shout(from, to, value);
        } else if (lie == Lie.WrongRecipient) {
            emit Transfer(from, from, value);
        } else {
            emit Transfer(to, to, value);
        }
    }
}

/// Keeps a tenth of every transfer, so that the payee gets less than was authorized.
contract FeeToken is TestUSDC {
    address public constant collector = address(0xFEE);

    function _move(address from, address to, uint256 value) internal override {
        uint256 fee = value / 10;
        super._move(from, to, value - fee);
        super._move(from, collector, fee);
    }
}
