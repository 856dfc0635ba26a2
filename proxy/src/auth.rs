//! Who asks: what a client presents, and what that is compared with.
//!
//! It only finds out which clients of a policy a request comes from; whether these may use the proxy is the core's.
//! Passwords, tokens and keys pass through here and go nowhere: nothing in here prints them.

mod certificate;
mod clients;
mod credential;
mod identity;
mod keyring;
mod token;
mod x509;

pub use self::certificate::{Certified, Presented, Verifier};
pub use self::clients::{ClientTable, Pod};
pub use self::credential::{Credential, MalformedCredential};
pub use self::identity::{Evidence, Identity, Refused, challenges, identify, refusal};
pub use self::keyring::{Keyring, Keys, Problem};
pub use self::token::{InvalidToken, Issuer, Subject};
