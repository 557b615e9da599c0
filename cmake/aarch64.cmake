# Cross build for aarch64, run under qemu-user: cmake -DCMAKE_TOOLCHAIN_FILE=cmake/aarch64.cmake, with -DTHRUM_SIM_ONLY=ON, or
# with liburing for arm64 where pkg-config finds it (.ci/run unpacks one).
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64;-L;/usr/aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
