//! One flat JSON object, field by field: what a format calls a fact stands beside the fact, and what is not known is
//! left out.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

pub(super) struct Fields<M>(M);

impl<M: SerializeMap> Fields<M> {
    pub(super) fn begin<S: Serializer<SerializeMap = M>>(serializer: S) -> Result<Self, S::Error> {
        serializer.serialize_map(None).map(Self)
    }

    pub(super) fn put(&mut self, key: &'static str, value: impl Serialize) -> Result<(), M::Error> {
        self.0.serialize_entry(key, &value)
    }

    pub(super) fn put_known(
        &mut self,
        key: &'static str,
        value: Option<impl Serialize>,
    ) -> Result<(), M::Error> {
        value.map_or(Ok(()), |value| self.put(key, value))
    }

    pub(super) fn end(self) -> Result<M::Ok, M::Error> {
        self.0.end()
    }
}
