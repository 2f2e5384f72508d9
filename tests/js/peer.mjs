// What the peer programs share: configuration from the environment, one JSON line per result, an end with the parent.

// The parent holds the other end of stdin. When it goes, however it goes, so does this program.
process.stdin.on("end", () => process.exit(0)).on("error", () => process.exit(0)).resume();

/** The variable's value, or its default; without a default it is required. */
export function env(name, otherwise) {
  const value = process.env[name] ?? otherwise;
  if (value === undefined) {
    console.error(`set ${name}`);
    process.exit(2);
  }
  return value;
}

/** Prints one result. */
export function answer(result) {
  return new Promise((done) => process.stdout.write(`${JSON.stringify(result)}\n`, done));
}

/** Runs a program that has one result. A refusal of the published client is a result too: `{error}`. */
export async function once(program) {
  let result;
  try {
    result = await program();
  } catch (error) {
    result = { error: error instanceof Error ? error.message : String(error) };
  }
  await answer(result);
  process.exit(0);
}

/** The JSON a text holds, or else the text. */
export function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** A `fetch` that notes what was sent and what came, for the wrapped clients to use. */
export function recorder() {
  const exchanges = [];
  async function recording(input, init) {
    const request = new Request(input, init);
    const payment = request.headers.get("payment-signature") ?? request.headers.get("x-payment");
    const response = await fetch(request);
    exchanges.push({ status: response.status, payment });
    return response;
  }
  return { fetch: recording, exchanges };
}

/** What a paying client reports: the last response, its receipt and how it got there. */
export async function report(response, receipt, exchanges) {
  return {
    status: response.status,
    body: parsed(await response.text()),
    headers: Object.fromEntries(response.headers),
    receipt,
    payment: exchanges.findLast(({ payment }) => payment)?.payment ?? null,
    exchanges: exchanges.map(({ status, payment }) => ({ status, paid: payment !== null })),
  };
}

/** The request of `METHOD` and `REQUEST_BODY`, and `ACCEPT` if it is set. */
export function requestInit() {
  const { METHOD: method = "GET", REQUEST_BODY: body, ACCEPT: accept } = process.env;
  const headers = { ...(body && { "content-type": "application/json" }), ...(accept && { accept }) };
  return { method, headers, ...(body && { body }) };
}

/** Serves the app on a free port of the loopback interface and says which. */
export function listen(app) {
  const server = app.listen(0, "127.0.0.1", () => answer({ listening: server.address().port }));
}

/** The goods, and how often they were handed out: `GET /paid` behind the gate, `GET /handled` before it. */
export function counted(app) {
  let handled = 0;
  return {
    before: () => app.get("/handled", (_request, response) => response.json({ handled })),
    after: () =>
      app.get("/paid", (_request, response) => {
        handled += 1;
        response.json({ secret: env("SECRET", "forty-two") });
      }),
  };
}
