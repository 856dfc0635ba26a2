//! A question to a name server, and what its answer means. Pure: bytes in, meaning out; the wire format is a library's.
//!
//! Whether a message is an answer to this question at all is decided here, too; who asks whom, and when, is not.

use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

/// Payload that fits into one packet nearly everywhere (DNS Flag Day 2020); what is larger comes over TCP.
const PAYLOAD_BYTES: u16 = 1232;
/// Longest chain of aliases that is followed: BIND and unbound stop at 16 and 11.
const ALIASES_MAX: usize = 16;
/// A header without anything behind it.
const HEADER_BYTES: usize = 12;

/// Which addresses are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// AAAA.
    V6,
    /// A.
    V4,
}

impl Family {
    /// Both, in the order in which they are asked for.
    pub const ALL: [Self; 2] = [Self::V6, Self::V4];

    fn record_type(self) -> RecordType {
        match self {
            Self::V6 => RecordType::AAAA,
            Self::V4 => RecordType::A,
        }
    }

    /// As it is written in a zone.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V6 => "AAAA",
            Self::V4 => "A",
        }
    }

    fn address(self, data: &RData) -> Option<IpAddr> {
        match (self, data) {
            (Self::V4, RData::A(ip)) => Some(IpAddr::V4(ip.0)),
            (Self::V6, RData::AAAA(ip)) => Some(IpAddr::V6(ip.0)),
            (Self::V4 | Self::V6, _) => None,
        }
    }
}

/// What is asked, under a number that the answer has to repeat.
#[derive(Clone, Debug)]
pub struct Question {
    id: u16,
    name: Name,
    family: Family,
}

/// A name's records of one family, as far as a server told; times are seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Addresses, never none, and how long they are good for.
    Found {
        /// As the server listed them.
        addresses: Vec<IpAddr>,
        /// The least of all records on the way to them.
        ttl: u32,
    },
    /// There is no such record or no such name; how long that is good for, where the zone says so (RFC 2308).
    Missing {
        /// Absent where no SOA came with it.
        ttl: Option<u32>,
    },
}

/// Why a server's word is no answer: the next one is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Flaw {
    /// Nothing came in time.
    #[error("did not answer")]
    Silent,
    /// The network or the server's machine said that nobody is there.
    #[error("cannot be reached")]
    Unreachable,
    /// It failed itself, mostly because those it asked did.
    #[error("answered SERVFAIL")]
    ServFail,
    /// It does not answer us.
    #[error("answered REFUSED")]
    Refused,
    /// It does not know such questions.
    #[error("answered NOTIMP")]
    NotImplemented,
    /// It did not understand.
    #[error("answered FORMERR")]
    FormatError,
    /// Any other code.
    #[error("answered with an error")]
    OtherCode,
    /// It pointed to other servers instead.
    #[error("answered with a referral")]
    Referral,
    /// Aliases that lead in circles, or too far.
    #[error("answered with aliases that lead nowhere")]
    Aliases,
    /// Not a message, or cut off where nothing may be.
    #[error("answered with garbage")]
    Garbage,
}

impl Flaw {
    /// Whether it is an outage in the sense of RFC 8767: what the name was before may still be used.
    #[must_use]
    pub const fn is_outage(self) -> bool {
        match self {
            Self::Silent | Self::Unreachable | Self::ServFail => true,
            Self::Refused
            | Self::NotImplemented
            | Self::FormatError
            | Self::OtherCode
            | Self::Referral
            | Self::Aliases
            | Self::Garbage => false,
        }
    }

    /// Whether the server was not heard at all.
    #[must_use]
    pub const fn is_silence(self) -> bool {
        match self {
            Self::Silent | Self::Unreachable => true,
            Self::ServFail
            | Self::Refused
            | Self::NotImplemented
            | Self::FormatError
            | Self::OtherCode
            | Self::Referral
            | Self::Aliases
            | Self::Garbage => false,
        }
    }

    /// Label of a metric.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Silent => "timeout",
            Self::Unreachable => "unreachable",
            Self::ServFail => "servfail",
            Self::Refused => "refused",
            Self::NotImplemented => "notimp",
            Self::FormatError => "formerr",
            Self::OtherCode | Self::Referral | Self::Aliases | Self::Garbage => "unusable",
        }
    }
}

/// What arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Something else than the answer to this question: it is still to come.
    NotOurs,
    /// The answer does not fit into a packet.
    Truncated,
    /// The answer is none.
    Flawed(Flaw),
    /// The answer.
    Answer(Meaning),
}

impl Question {
    /// About a name in normal form, without the trailing dot. None if no message can carry it.
    #[must_use]
    pub fn new(id: u16, name: &str, family: Family) -> Option<Self> {
        // The dot makes it absolute: no search list, whatever ndots says.
        let name = Name::from_ascii(format!("{name}.")).ok()?;
        Some(Self { id, name, family })
    }

    /// As it is sent; with an offer of larger answers, or without for servers that do not know such offers.
    #[must_use]
    pub fn message(&self, offer: Offer) -> Option<Vec<u8>> {
        let mut message = Message::new(self.id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(self.name.clone(), self.family.record_type()));
        match offer {
            Offer::Edns => {
                let mut edns = Edns::new();
                edns.set_max_payload(PAYLOAD_BYTES);
                message.set_edns(edns);
            }
            Offer::Plain => {}
        }
        message.to_vec().ok()
    }

    /// What a message that arrived from the server means.
    #[must_use]
    pub fn read(&self, bytes: &[u8]) -> Reading {
        let Some((header, _)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return Reading::Flawed(Flaw::Garbage);
        };
        let [id_high, id_low, flags, ..] = *header;
        let is_answer = flags & 0x80 != 0;
        if u16::from_be_bytes([id_high, id_low]) != self.id || !is_answer {
            return Reading::NotOurs;
        }
        let is_truncated = flags & 0x02 != 0;
        let message = match Message::from_vec(bytes) {
            Ok(message) => message,
            Err(_) if is_truncated => return Reading::Truncated,
            Err(_) => return Reading::Flawed(Flaw::Garbage),
        };
        let code = message.metadata.response_code;
        match message.queries.as_slice() {
            [query] if self.is(query) => {}
            // Servers that could not read the question leave it out.
            [] if !matches!(code, ResponseCode::NoError | ResponseCode::NXDomain) => {}
            [] | [..] => return Reading::NotOurs,
        }
        if is_truncated {
            return Reading::Truncated;
        }
        match self.meaning(&message) {
            Ok(meaning) => Reading::Answer(meaning),
            Err(flaw) => Reading::Flawed(flaw),
        }
    }

    fn is(&self, query: &Query) -> bool {
        query.name() == &self.name
            && query.query_type() == self.family.record_type()
            && query.query_class() == DNSClass::IN
    }

    fn meaning(&self, message: &Message) -> Result<Meaning, Flaw> {
        match message.metadata.response_code {
            ResponseCode::NoError => {}
            ResponseCode::NXDomain => {
                let ttl = negative_ttl(&message.authorities);
                return Ok(Meaning::Missing { ttl });
            }
            ResponseCode::ServFail => return Err(Flaw::ServFail),
            ResponseCode::Refused => return Err(Flaw::Refused),
            ResponseCode::NotImp => return Err(Flaw::NotImplemented),
            ResponseCode::FormErr | ResponseCode::BADVERS => return Err(Flaw::FormatError),
            _ => return Err(Flaw::OtherCode),
        }
        let (mut owner, mut ttl) = (&self.name, u32::MAX);
        for _ in 0..=ALIASES_MAX {
            let own = || message.answers.iter().filter(|record| is_of(record, owner));
            let mut addresses = Vec::new();
            for record in own() {
                if let Some(address) = self.family.address(&record.data) {
                    addresses.push(address);
                    ttl = ttl.min(seconds(record.ttl));
                }
            }
            if !addresses.is_empty() {
                return Ok(Meaning::Found { addresses, ttl });
            }
            let alias = own().find_map(|record| match &record.data {
                RData::CNAME(target) => Some((&target.0, record.ttl)),
                _ => None,
            });
            let Some((target, alias_ttl)) = alias else {
                return no_data(message);
            };
            (owner, ttl) = (target, ttl.min(seconds(alias_ttl)));
        }
        Err(Flaw::Aliases)
    }
}

/// Whether a question offers to take answers of more than 512 bytes (RFC 6891).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// It does.
    Edns,
    /// It does not.
    Plain,
}

fn is_of(record: &Record, owner: &Name) -> bool {
    record.dns_class == DNSClass::IN && record.name == *owner
}

/// No record of the family: the zone's word, or that of a server which only knows whom else to ask.
fn no_data(message: &Message) -> Result<Meaning, Flaw> {
    let ttl = negative_ttl(&message.authorities);
    let knows = message.metadata.authoritative || message.metadata.recursion_available;
    let refers = message
        .authorities
        .iter()
        .any(|record| matches!(record.data, RData::NS(_)));
    if ttl.is_none() && !knows && (refers || message.answers.is_empty()) {
        return Err(Flaw::Referral);
    }
    Ok(Meaning::Missing { ttl })
}

/// RFC 2308, 5: the lesser of the SOA's own TTL and its last field.
fn negative_ttl(authorities: &[Record]) -> Option<u32> {
    authorities.iter().find_map(|record| match &record.data {
        RData::SOA(soa) => Some(seconds(record.ttl).min(seconds(soa.minimum))),
        _ => None,
    })
}

/// RFC 2181, 8: with the top bit set it is zero.
fn seconds(ttl: u32) -> u32 {
    if ttl > i32::MAX.unsigned_abs() { 0 } else { ttl }
}

#[cfg(test)]
mod tests;
