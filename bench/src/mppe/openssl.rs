//! OpenSSL's RC4 and SHA-1, from the libcrypto that is installed.
//!
//! Opened at run time: who has no libcrypto can still build and run the bench, without this
//! contestant. The low-level functions are deprecated, but without the cost of OpenSSL 3's
//! providers, which would flatter us.

use std::ffi::{CStr, c_int, c_uchar, c_void};

use super::cipher::{Cipher, OPENSSL};

type SetKey = unsafe extern "C" fn(*mut c_void, c_int, *const c_uchar);
type Apply = unsafe extern "C" fn(*mut c_void, usize, *const c_uchar, *mut c_uchar);
type Init = unsafe extern "C" fn(*mut c_void) -> c_int;
type Update = unsafe extern "C" fn(*mut c_void, *const c_void, usize) -> c_int;
type Final = unsafe extern "C" fn(*mut c_uchar, *mut c_void) -> c_int;

/// The functions of libcrypto that the contestant needs.
pub struct LibCrypto {
    set_key: SetKey,
    apply: Apply,
    init: Init,
    update: Update,
    finish: Final,
}

/// Room for an `RC4_KEY` (258 times 4 octets) or a `SHA_CTX` (96 octets).
#[repr(C, align(16))]
struct Context([u8; 2048]);

impl LibCrypto {
    pub fn load() -> Option<Self> {
        let library = [c"libcrypto.so.3", c"libcrypto.so.1.1"].into_iter().find_map(|name| {
            // SAFETY: the name is a C string, and libcrypto's initialisers may run at any time.
            let library = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) };
            (!library.is_null()).then_some(library)
        })?;
        let symbol = |name: &CStr| {
            // SAFETY: the library is open and is never closed, the name is a C string.
            let symbol = unsafe { libc::dlsym(library, name.as_ptr()) };
            (!symbol.is_null()).then_some(symbol)
        };
        let set_key = symbol(c"RC4_set_key")?;
        let apply = symbol(c"RC4")?;
        let init = symbol(c"SHA1_Init")?;
        let update = symbol(c"SHA1_Update")?;
        let finish = symbol(c"SHA1_Final")?;
        Some(Self {
            // SAFETY: this is the function's type in openssl/rc4.h.
            set_key: unsafe { std::mem::transmute::<*mut c_void, SetKey>(set_key) },
            // SAFETY: this is the function's type in openssl/rc4.h.
            apply: unsafe { std::mem::transmute::<*mut c_void, Apply>(apply) },
            // SAFETY: this is the function's type in openssl/sha.h.
            init: unsafe { std::mem::transmute::<*mut c_void, Init>(init) },
            // SAFETY: this is the function's type in openssl/sha.h.
            update: unsafe { std::mem::transmute::<*mut c_void, Update>(update) },
            // SAFETY: this is the function's type in openssl/sha.h.
            finish: unsafe { std::mem::transmute::<*mut c_void, Final>(finish) },
        })
    }
}

impl Cipher for LibCrypto {
    fn name(&self) -> &'static str {
        OPENSSL
    }

    fn sha1(&self, parts: [&[u8]; 4]) -> [u8; 20] {
        let mut context = std::mem::MaybeUninit::<Context>::uninit();
        let context = context.as_mut_ptr().cast();
        let mut digest = [0; 20];
        // SAFETY: the context has room for a SHA_CTX.
        unsafe { (self.init)(context) };
        for part in parts {
            // SAFETY: the context was initialised, the part is readable for its length.
            unsafe { (self.update)(context, part.as_ptr().cast(), part.len()) };
        }
        // SAFETY: the context was initialised, the digest has 20 octets.
        unsafe { (self.finish)(digest.as_mut_ptr(), context) };
        digest
    }

    fn rc4(&self, key: &[u8; 16], data: &mut [u8]) {
        let mut context = std::mem::MaybeUninit::<Context>::uninit();
        let context = context.as_mut_ptr().cast();
        // SAFETY: the context has room for an RC4_KEY, the key is 16 octets long.
        unsafe { (self.set_key)(context, 16, key.as_ptr()) };
        // SAFETY: the context holds a key; input and output are the same buffer, which RC4 allows.
        unsafe { (self.apply)(context, data.len(), data.as_ptr(), data.as_mut_ptr()) };
    }
}
