// Pays for a request with the published v1 client. It reads the requirements from the 402's body and refuses a body
// that is not v1's, or a price above MAX_AMOUNT atomic units.
//
// URL, PRIVATE_KEY; NETWORK (base-sepolia), MAX_AMOUNT (100000), METHOD, REQUEST_BODY, ACCEPT

import { createSigner, decodeXPaymentResponse, wrapFetchWithPayment } from "x402-fetch";
import { env, once, recorder, report, requestInit } from "./peer.mjs";

await once(async () => {
  const signer = await createSigner(env("NETWORK", "base-sepolia"), env("PRIVATE_KEY"));
  const { fetch, exchanges } = recorder();

  const pay = wrapFetchWithPayment(fetch, signer, BigInt(env("MAX_AMOUNT", "100000")));
  const response = await pay(env("URL"), requestInit());
  const header = response.headers.get("X-PAYMENT-RESPONSE");
  return report(response, header && decodeXPaymentResponse(header), exchanges);
});
