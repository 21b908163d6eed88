//! The composition root: puts the crafts together into one process or five services.
