//! Enums whose variants have fixed names in text: in JSON, logs, metrics and the store.

/// Text that names no variant of an enum.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {kind} {name:?}")]
pub struct UnknownName {
    /// The enum's own name.
    pub kind: &'static str,
    /// The text.
    pub name: String,
}

/// Defines a fieldless enum with a fixed name for each variant, and from that list `ALL`, `as_str`,
/// `Display` and `FromStr`.
///
/// Attributes in front of the enum and of its variants are kept. An enum that derives serde's traits says
/// itself how it is written in JSON; its test compares that with the names.
#[macro_export]
macro_rules! named_enum {
    ($(#[$attribute:meta])* $name:ident { $($(#[$of_variant:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$of_variant])* $variant,)+ }

        impl $name {
            /// Every value, in the order of definition.
            pub const ALL: [Self; [$($text),+].len()] = [$(Self::$variant),+];

            /// Name in JSON, logs, metrics and the store.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl ::std::str::FromStr for $name {
            type Err = $crate::named::UnknownName;

            fn from_str(text: &str) -> ::std::result::Result<Self, Self::Err> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err($crate::named::UnknownName { kind: stringify!($name), name: text.to_owned() }),
                }
            }
        }
    };
}
