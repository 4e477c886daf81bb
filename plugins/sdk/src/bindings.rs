//! What wit-bindgen makes of the contract.
//!
//! One module for each interface that a plugin exports, because two worlds that export the same
//! interface would define its export macro twice. A plugin exports `plugin` and one of the others; what
//! the linker makes of both is one of the worlds of the contract.
#![allow(missing_docs, unreachable_pub, unsafe_code, clippy::all, reason = "generated code")]

pub mod plugin {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "
            package millrace:sdk-plugin;
            world every-plugin {
                import millrace:pipeline/types@0.1.0;
                import millrace:pipeline/log@0.1.0;
                export millrace:pipeline/plugin@0.1.0;
            }
        ",
        generate_all,
        pub_export_macro: true,
        default_bindings_module: "millrace_plugin::bindings::plugin",
        runtime_path: "millrace_plugin::export::wit_bindgen_rt",
    });
}

pub mod preprocess {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "
            package millrace:sdk-preprocess;
            world every-preprocessor {
                import millrace:pipeline/types@0.1.0;
                export millrace:pipeline/preprocess@0.1.0;
            }
        ",
        pub_export_macro: true,
        default_bindings_module: "millrace_plugin::bindings::preprocess",
        runtime_path: "millrace_plugin::export::wit_bindgen_rt",
        with: {
            "millrace:pipeline/types@0.1.0": millrace_plugin::bindings::plugin::millrace::pipeline::types,
        },
    });
}

pub mod route {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "
            package millrace:sdk-route;
            world every-router {
                import millrace:pipeline/types@0.1.0;
                export millrace:pipeline/route@0.1.0;
            }
        ",
        pub_export_macro: true,
        default_bindings_module: "millrace_plugin::bindings::route",
        runtime_path: "millrace_plugin::export::wit_bindgen_rt",
        with: {
            "millrace:pipeline/types@0.1.0": millrace_plugin::bindings::plugin::millrace::pipeline::types,
        },
    });
}

pub mod transform {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "
            package millrace:sdk-transform;
            world every-transformer {
                import millrace:pipeline/types@0.1.0;
                export millrace:pipeline/transform@0.1.0;
            }
        ",
        pub_export_macro: true,
        default_bindings_module: "millrace_plugin::bindings::transform",
        runtime_path: "millrace_plugin::export::wit_bindgen_rt",
        with: {
            "millrace:pipeline/types@0.1.0": millrace_plugin::bindings::plugin::millrace::pipeline::types,
        },
    });
}
