// Pays for a request with the published v2 client.
//
// URL, PRIVATE_KEY; METHOD, REQUEST_BODY, ACCEPT

import { decodePaymentResponseHeader, wrapFetchWithPayment, x402Client } from "@x402/fetch";
import { ExactEvmScheme } from "@x402/evm/exact/client";
import { privateKeyToAccount } from "viem/accounts";
import { env, once, recorder, report, requestInit } from "./peer.mjs";

await once(async () => {
  const account = privateKeyToAccount(env("PRIVATE_KEY"));
  const client = new x402Client().register("eip155:*", new ExactEvmScheme(account));
  const { fetch, exchanges } = recorder();

  const response = await wrapFetchWithPayment(fetch, client)(env("URL"), requestInit());
  const header = response.headers.get("PAYMENT-RESPONSE");
  return report(response, header && decodePaymentResponseHeader(header), exchanges);
});
