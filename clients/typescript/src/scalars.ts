/**
 * The schema's own scalars. Answers are used as they come, so each is the JSON value with a type of its own; nothing is
 * converted, and an answer can be cached, compared and posted to a worker as it is.
 */

declare const unit: unique symbol;

/**
 * Whole satoshis. A number and no bigint: all coins that there will ever be, 2.1 * 10^15 satoshis, are exact below 2^53, and
 * JSON has no bigint. It has a type of its own so that seconds, scores or bitcoins are not taken for it; what is
 * computed from satoshis goes through `sats` again, which refuses fractions.
 */
export type Sats = number & { readonly [unit]: "sat" };

/** A time as RFC 3339 text in UTC, to the microsecond; of one length or not, `timeOf` reads it. */
export type DateTime = string & { readonly [unit]: "time" };

/** Throws RangeError for what is no whole number of satoshis, or none between ±(2^53 - 1). */
export function sats(amount: number | bigint): Sats {
  const whole = Number(amount);
  if (!Number.isSafeInteger(whole)) throw new RangeError(`${amount} is no whole number of satoshis`);
  return whole as Sats;
}

/** Throws RangeError for an invalid Date. */
export function dateTime(at: Date): DateTime {
  return at.toISOString() as DateTime;
}

/** To the millisecond, which is all that a Date holds. */
export function timeOf(at: DateTime): Date {
  return new Date(at);
}
