// Pays for a request with the published v2 client, and calls it what ID says, with the published helpers for that.
//
// URL, PRIVATE_KEY, ID; METHOD, REQUEST_BODY

import { decodePaymentResponseHeader } from "@x402/fetch";
import { x402Client, x402HTTPClient } from "@x402/core/client";
import { ExactEvmScheme } from "@x402/evm/exact/client";
import {
  appendPaymentIdentifierToExtensions,
  extractPaymentIdentifier,
  isPaymentIdentifierExtension,
  PAYMENT_IDENTIFIER,
  validatePaymentIdentifier,
} from "@x402/extensions/payment-identifier";
import { privateKeyToAccount } from "viem/accounts";
import { env, once, parsed, requestInit } from "./peer.mjs";

await once(async () => {
  const account = privateKeyToAccount(env("PRIVATE_KEY"));
  const client = new x402HTTPClient(new x402Client().register("eip155:*", new ExactEvmScheme(account)));

  const unpaid = await fetch(env("URL"), requestInit());
  const required = client.getPaymentRequiredResponse((name) => unpaid.headers.get(name));
  const declared = structuredClone(required.extensions?.[PAYMENT_IDENTIFIER] ?? null);
  appendPaymentIdentifierToExtensions(required.extensions ?? {}, env("ID"));
  const payload = await client.createPaymentPayload(required);
  const payment = client.encodePaymentSignatureHeader(payload);

  const answers = [];
  for (let time = 0; time < 2; time += 1) {
    const { headers, ...rest } = requestInit();
    const response = await fetch(env("URL"), { ...rest, headers: { ...headers, ...payment } });
    const receipt = response.headers.get("PAYMENT-RESPONSE");
    answers.push({
      status: response.status,
      body: parsed(await response.text()),
      replayed: response.headers.get("idempotent-replayed"),
      receipt: receipt && decodePaymentResponseHeader(receipt),
    });
  }
  return {
    declared,
    isDeclaration: isPaymentIdentifierExtension(declared),
    declaration: validatePaymentIdentifier(declared),
    answered: validatePaymentIdentifier(payload.extensions?.[PAYMENT_IDENTIFIER]),
    id: extractPaymentIdentifier(payload),
    answers,
  };
});
