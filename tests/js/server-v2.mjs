// A published v2 server that sells GET /paid.
//
// FACILITATOR_URL, PAY_TO; NETWORK (eip155:84532), PRICE ($0.01), SECRET

import { HTTPFacilitatorClient } from "@x402/core/server";
import { ExactEvmScheme } from "@x402/evm/exact/server";
import { paymentMiddleware, x402ResourceServer } from "@x402/express";
import express from "express";
import { counted, env, listen } from "./peer.mjs";

const network = env("NETWORK", "eip155:84532");
const server = new x402ResourceServer(new HTTPFacilitatorClient({ url: env("FACILITATOR_URL") }));
server.register(network, new ExactEvmScheme());

const app = express();
const goods = counted(app);
goods.before();
app.use(
  paymentMiddleware(
    {
      "GET /paid": {
        accepts: { scheme: "exact", network, price: env("PRICE", "$0.01"), payTo: env("PAY_TO") },
        description: "A secret",
        mimeType: "application/json",
      },
    },
    server,
  ),
);
goods.after();
listen(app);
