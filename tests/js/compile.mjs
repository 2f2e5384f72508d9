// Compiles tests/contracts/*.sol into one artifact per contract. With --check nothing is written: the run fails
// when a committed artifact is not what the sources give.
//
//   node compile.mjs [--check]

import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import solc from "solc";

const contracts = fileURLToPath(new URL("../contracts/", import.meta.url));
const artifacts = `${contracts}artifacts/`;
const check = process.argv.includes("--check");

const names = (folder, extension) => readdirSync(folder).filter((name) => name.endsWith(extension)).sort();

function compile() {
  // Sources go by their bare names and no metadata is appended: the same bytes come out wherever the checkout lies.
  const sources = Object.fromEntries(
    names(contracts, ".sol").map((name) => [name, { content: readFileSync(contracts + name, "utf8") }]),
  );
  const settings = {
    evmVersion: "cancun",
    optimizer: { enabled: true, runs: 200 },
    metadata: { bytecodeHash: "none", appendCBOR: false },
    outputSelection: { "*": { "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object"] } },
  };
  const output = JSON.parse(solc.compile(JSON.stringify({ language: "Solidity", sources, settings })));
  if (output.errors?.length) {
    throw new Error(output.errors.map((error) => error.formattedMessage).join("\n"));
  }
  return Object.values(output.contracts).flatMap((file) => Object.entries(file));
}

const wanted = new Map(
  compile()
    .filter(([, { evm }]) => evm.bytecode.object !== "") // an interface has no code
    .map(([name, { abi, evm }]) => {
      const artifact = {
        abi,
        bytecode: `0x${evm.bytecode.object}`,
        deployedBytecode: `0x${evm.deployedBytecode.object}`,
      };
      return [`${name}.json`, `${JSON.stringify(artifact, null, 1)}\n`];
    }),
);

mkdirSync(artifacts, { recursive: true });
const stale = names(artifacts, ".json").filter((name) => !wanted.has(name));
const changed = [...wanted.keys()].filter((name) => {
  try {
    return readFileSync(artifacts + name, "utf8") !== wanted.get(name);
  } catch {
    return true;
  }
});

if (check) {
  if (stale.length || changed.length) {
    console.error(`out of date in tests/contracts/artifacts: ${[...changed, ...stale].join(", ")}`);
    console.error("run `npm run compile` in tests/js and commit the result");
    process.exit(1);
  }
  console.log(`${wanted.size} artifacts are what the sources give`);
} else {
  stale.forEach((name) => rmSync(artifacts + name));
  changed.forEach((name) => writeFileSync(artifacts + name, wanted.get(name)));
  console.log(`${wanted.size} artifacts, ${changed.length} written, ${stale.length} removed`);
}
