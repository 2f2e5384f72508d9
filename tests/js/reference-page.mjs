// The published page for an offer: OFFER is the JSON of a 402 in version 2, the answer is {"html": …}.
// The package is unpacked by `cargo xtask browser --measure`, without what it names as dependencies and does not import.
import { evmPaywall } from "./node_modules/.reference/package/dist/esm/evm/index.js";
import { createPaywall } from "./node_modules/.reference/package/dist/esm/index.js";

const paywall = createPaywall().withNetwork(evmPaywall).withConfig({ appName: "shop.example.com", testnet: true }).build();
console.log(JSON.stringify({ html: paywall.generateHtml(JSON.parse(process.env.OFFER)) }));
