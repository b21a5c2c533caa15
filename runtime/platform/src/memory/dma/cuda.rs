//! CUDA's driver, loaded when asked for: a GPU is let at memory of ours, and reads it to prove that it can.
//!
//! The functions are those of the driver's stable interface (`cuda.h`, API 3.2 and later); no toolkit is needed to build or to run. The bytes
//! that prove it go from our memory into the device's own by its copy engine, and come back from there.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::mem::transmute;
use std::ptr::{NonNull, null, null_mut};

const LIBRARY: &CStr = c"libcuda.so.1";
/// Bytes that the device reads for proof.
const PROOF: usize = 64 << 10;
/// `CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP`.
const EVERYWHERE_AND_MAPPED: c_uint = 0x01 | 0x02;

/// An open library, closed when dropped.
#[derive(Debug)]
struct Library(NonNull<c_void>);

impl Library {
    fn open(name: &CStr) -> Option<Self> {
        // SAFETY: the name ends in a zero. What the library does when it is loaded is its own affair: it is the machine's GPU driver.
        NonNull::new(unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) }).map(Self)
    }

    fn symbol(&self, name: &CStr) -> Result<NonNull<c_void>, String> {
        // SAFETY: the library is open, the name ends in a zero.
        let found = NonNull::new(unsafe { libc::dlsym(self.0.as_ptr(), name.as_ptr()) });
        found.ok_or_else(|| {
            format!("a driver with {}: update NVIDIA's driver", name.to_str().unwrap_or_default())
        })
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        // SAFETY: opened in `open`, closed only here; no function of it is called afterwards, for `Driver` holds both.
        unsafe { libc::dlclose(self.0.as_ptr()) };
    }
}

macro_rules! driver {
    ($($field:ident = $symbol:literal($($argument:ty),*);)*) => {
        /// The driver's functions that are used here; each answers 0 or an error's number.
        #[derive(Debug)]
        struct Driver {
            $($field: unsafe extern "C" fn($($argument),*) -> c_int,)*
            _library: Library,
        }

        impl Driver {
            fn load() -> Result<Self, String> {
                let library = Library::open(LIBRARY).ok_or("libcuda.so.1: NVIDIA's driver is not installed")?;
                Ok(Driver {
                    $($field: {
                        let address = library.symbol($symbol)?.as_ptr();
                        // SAFETY: cuda.h declares the function of this name with these arguments and this result.
                        unsafe { transmute::<*mut c_void, unsafe extern "C" fn($($argument),*) -> c_int>(address) }
                    },)*
                    _library: library,
                })
            }
        }
    };
}

driver! {
    init = c"cuInit"(c_uint);
    device_get = c"cuDeviceGet"(*mut c_int, c_int);
    device_name = c"cuDeviceGetName"(*mut c_char, c_int, c_int);
    retain = c"cuDevicePrimaryCtxRetain"(*mut *mut c_void, c_int);
    release = c"cuDevicePrimaryCtxRelease_v2"(c_int);
    push = c"cuCtxPushCurrent_v2"(*mut c_void);
    pop = c"cuCtxPopCurrent_v2"(*mut *mut c_void);
    register = c"cuMemHostRegister_v2"(*mut c_void, usize, c_uint);
    unregister = c"cuMemHostUnregister"(*mut c_void);
    device_pointer = c"cuMemHostGetDevicePointer_v2"(*mut u64, *mut c_void, c_uint);
    allocate = c"cuMemAlloc_v2"(*mut u64, usize);
    free = c"cuMemFree_v2"(u64);
    copy_on_device = c"cuMemcpyDtoD_v2"(u64, u64, usize);
    copy_from_device = c"cuMemcpyDtoH_v2"(*mut c_void, u64, usize);
    error_name = c"cuGetErrorName"(c_int, *mut *const c_char);
}

impl Driver {
    fn check(&self, function: &str, code: c_int) -> Result<(), String> {
        if code == 0 {
            return Ok(());
        }
        let mut name: *const c_char = null();
        // SAFETY: the driver stores the address of a text of its own, or null where it knows no such error.
        unsafe { (self.error_name)(code, &mut name) };
        let name = if name.is_null() {
            format!("error {code}")
        } else {
            // SAFETY: the driver's own text, which ends in a zero and stays for as long as the library is open.
            unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()
        };
        Err(format!("a CUDA device that lets us at it: {function} says {name}"))
    }
}

/// Memory that a GPU may read and write, until this is dropped.
#[derive(Debug)]
pub(super) struct Registration {
    driver: Driver,
    device: c_int,
    context: *mut c_void,
    base: Option<NonNull<u8>>,
}

// SAFETY: the driver may be called from any thread, one at a time or at once; the context is made current for the time of a call alone.
unsafe impl Send for Registration {}
// SAFETY: as above; nothing is called through a shared reference.
unsafe impl Sync for Registration {}

/// Lets the first GPU at the memory, and has it read the beginning: how, in words, or what that needs.
///
/// # Safety
///
/// The memory is mapped, page-aligned, and stays so until the registration is dropped; nobody changes it meanwhile.
pub(super) unsafe fn register(base: NonNull<u8>, len: usize) -> Result<(Registration, String), String> {
    let driver = Driver::load()?;
    // SAFETY: the first call of all, as the driver wants it; it takes no memory of ours.
    driver.check("cuInit", unsafe { (driver.init)(0) })?;
    let mut device = 0;
    // SAFETY: the driver stores one number.
    driver.check("cuDeviceGet", unsafe { (driver.device_get)(&mut device, 0) })?;
    let mut name: [c_char; 128] = [0; 128];
    // SAFETY: the driver stores at most 127 characters and a zero.
    driver.check("cuDeviceGetName", unsafe {
        (driver.device_name)(name.as_mut_ptr(), name.len() as c_int - 1, device)
    })?;
    let mut context = null_mut();
    // SAFETY: the driver stores one address; the context is released once, when the registration is dropped.
    driver.check("cuDevicePrimaryCtxRetain", unsafe { (driver.retain)(&mut context, device) })?;
    let mut registration = Registration { driver, device, context, base: None };
    registration.within(|it| {
        // SAFETY: the caller keeps the memory mapped until it is unregistered, when the registration is dropped.
        it.driver.check("cuMemHostRegister", unsafe {
            (it.driver.register)(base.as_ptr().cast(), len, EVERYWHERE_AND_MAPPED)
        })?;
        it.base = Some(base);
        // SAFETY: registered above, with room for at least that many bytes.
        unsafe { it.prove(base, len.min(PROOF)) }
    })?;
    // SAFETY: the driver ended it with a zero, and the last character is one anyway.
    let name = unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy().into_owned();
    Ok((registration, format!("{name} read {} bytes of it, all equal", len.min(PROOF))))
}

impl Registration {
    /// Does `work` with the device's context current on this thread.
    fn within<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, String>) -> Result<T, String> {
        // SAFETY: retained in `register`, and released only on drop.
        self.driver.check("cuCtxPushCurrent", unsafe { (self.driver.push)(self.context) })?;
        let done = work(self);
        let mut popped = null_mut();
        // SAFETY: the driver stores the address that was pushed above.
        self.driver.check("cuCtxPopCurrent", unsafe { (self.driver.pop)(&mut popped) })?;
        done
    }

    /// Has the device copy `len` bytes into memory of its own, fetches them from there and compares.
    ///
    /// # Safety
    ///
    /// That many bytes at `base` are registered, and nobody changes them.
    unsafe fn prove(&self, base: NonNull<u8>, len: usize) -> Result<(), String> {
        let driver = &self.driver;
        let (mut ours, mut its) = (0, 0);
        // SAFETY: the driver stores one address, of memory that is registered.
        driver.check("cuMemHostGetDevicePointer", unsafe {
            (driver.device_pointer)(&mut ours, base.as_ptr().cast(), 0)
        })?;
        // SAFETY: the driver stores one address.
        driver.check("cuMemAlloc", unsafe { (driver.allocate)(&mut its, len) })?;
        let mut read = vec![0u8; len];
        // SAFETY: both are the device's addresses of `len` bytes.
        let copied = driver.check("cuMemcpyDtoD", unsafe { (driver.copy_on_device)(its, ours, len) });
        let fetched = copied.and_then(|()| {
            // SAFETY: `read` has room for `len` bytes; the copy waits for the one before it.
            driver.check("cuMemcpyDtoH", unsafe {
                (driver.copy_from_device)(read.as_mut_ptr().cast(), its, len)
            })
        });
        // SAFETY: allocated above, freed once.
        let freed = driver.check("cuMemFree", unsafe { (driver.free)(its) });
        fetched.and(freed)?;
        // SAFETY: the caller's bytes, which nobody changes.
        let expected = unsafe { std::slice::from_raw_parts(base.as_ptr(), len) };
        let differ = expected.iter().zip(&read).filter(|(a, b)| a != b).count();
        if differ == 0 {
            Ok(())
        } else {
            Err(format!("a device that reads what is there: {differ} of {len} bytes came back different"))
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // Nothing can be done about what the driver refuses here: the memory then stays pinned until the process ends.
        let _ = self.within(|it| match it.base.take() {
            // SAFETY: registered in `register`, unregistered once, and still mapped.
            Some(base) => it
                .driver
                .check("cuMemHostUnregister", unsafe { (it.driver.unregister)(base.as_ptr().cast()) }),
            None => Ok(()),
        });
        // SAFETY: retained once in `register`; the context is not used any more.
        unsafe { (self.driver.release)(self.device) };
    }
}
