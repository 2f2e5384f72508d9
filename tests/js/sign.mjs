// Makes, with the published v2 client, the header that pays for a PAYMENT-REQUIRED header, and sends nothing.
//
// PAYMENT_REQUIRED, PRIVATE_KEY

import { x402Client, x402HTTPClient } from "@x402/core/client";
import { ExactEvmScheme } from "@x402/evm/exact/client";
import { privateKeyToAccount } from "viem/accounts";
import { env, once } from "./peer.mjs";

await once(async () => {
  const account = privateKeyToAccount(env("PRIVATE_KEY"));
  const client = new x402HTTPClient(new x402Client().register("eip155:*", new ExactEvmScheme(account)));

  const headers = new Headers({ "PAYMENT-REQUIRED": env("PAYMENT_REQUIRED") });
  const required = client.getPaymentRequiredResponse((name) => headers.get(name));
  const payload = await client.createPaymentPayload(required);
  return { payload, headers: client.encodePaymentSignatureHeader(payload) };
});
