// A published v1 server that sells GET /paid.
//
// FACILITATOR_URL, PAY_TO; NETWORK (base-sepolia), PRICE ($0.01), SECRET

import express from "express";
import { paymentMiddleware } from "x402-express";
import { counted, env, listen } from "./peer.mjs";

const app = express();
const goods = counted(app);
goods.before();
app.use(
  paymentMiddleware(
    env("PAY_TO"),
    {
      "GET /paid": {
        price: env("PRICE", "$0.01"),
        network: env("NETWORK", "base-sepolia"),
        config: { description: "A secret", mimeType: "application/json" },
      },
    },
    { url: env("FACILITATOR_URL") },
  ),
);
goods.after();
listen(app);
