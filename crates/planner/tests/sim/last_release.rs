//! What the last release of the operator wrote, as its successor finds it.

use crate::world::World;

impl World {
    /// Takes out of records and status what the last release did not write.
    pub fn as_of_the_last_release(&mut self) {
        for record in self.records.values_mut() {
            let mut written = serde_json::to_value(&*record).expect("a record");
            let fields = written.as_object_mut().expect("an object");
            for unknown in ["installer", "route"] {
                fields.remove(unknown).expect("a field of the record");
            }
            *record = serde_json::from_value(written).expect("a record of the last release");
        }
        if let Some(object) = &mut self.object {
            object.status.legs.clear();
        }
    }
}
