/** One way to pay, as the server offers it. */
export interface Requirements {
  scheme: string;
  network: string;
  amount: string;
  asset: string;
  payTo: string;
  maxTimeoutSeconds: number;
  extra?: { name?: string; version?: string; [key: string]: unknown };
}

export interface Offer {
  x402Version: number;
  error?: string;
  resource?: unknown;
  accepts: Requirements[];
  extensions?: Record<string, any>;
}

/** What the page knows of a way to pay beside the offer, in the order of `accepts`. */
export interface Option extends Record<string, any> {
  symbol: string;
  decimals: number;
  dollar?: boolean;
  network: string;
  explorer?: string;
  /** What a wallet is told that does not know the chain: its coin, and where to reach it. */
  coin?: string;
  rpc?: string;
}

export interface Data {
  /** What the header PAYMENT-REQUIRED says, or the header. */
  required: Offer | string;
  options: Option[];
  /** The server's clock, in seconds. */
  now: number;
  onramp?: string;
  /** Query parameters that do not count for a purchase; `*` at the end stands for anything. */
  ignored?: string[];
  /** The style of the receipt's bar. */
  bar: string;
  texts: Record<string, string>;
}

/** The header PAYMENT-RESPONSE. */
export interface Settlement {
  success: boolean;
  transaction?: string;
  network?: string;
  payer?: string;
  amount?: string;
  errorReason?: string;
}

/** A signed payment as it is stored. */
export interface Payment {
  /** The version of this format. */
  v: number;
  header: string;
  option: Requirements;
  from: string;
  nonce: string;
  validBefore: number;
  /** When the last of those with this nonce is over. */
  until?: number;
  signedAt: number;
  /** As money, and where. */
  price: string;
  /** In the token, where that is another number. */
  amount?: string;
  /** The path and query that it was signed at. */
  at?: string;
  explorer?: string;
  refused?: boolean;
  /** No answer came, though the server was there. */
  lost?: boolean;
  paid?: number;
  /** The token says so. */
  spent?: boolean;
  receipt?: Settlement;
}

export interface Answer {
  status: number;
  settlement?: Settlement | null;
  offer?: Offer | null;
  html?: boolean;
  error?: string;
}

export interface Wallet {
  /** EIP-6963's `uuid`. */
  id: string;
  name: string;
  provider: Provider;
  /** Its `rdns`, or its `id` where it has none. */
  rdns: string;
  /** Where its `rdns` stands. */
  hint: HTMLElement;
  /** Where its name stands. */
  row: HTMLElement;
}

/** How a wallet makes itself known. */
export interface Announced extends Omit<Wallet, "hint" | "row"> {
  icon: string;
}

/** EIP-1193. */
export interface Provider {
  request(call: { method: string; params?: unknown[] }): Promise<any>;
  on?(event: string, listener: (value: any) => void): void;
}

/** What a state says and offers beyond its name. */
export interface Shown {
  status?: string;
  alert?: string;
  pay?: boolean;
  retry?: boolean;
  anew?: boolean;
  cancel?: boolean;
  busy?: boolean;
  /** Money may be lost: it is said in red. */
  risk?: boolean;
  /** Rows of a name and one value, or two. */
  facts?: string[][];
}
