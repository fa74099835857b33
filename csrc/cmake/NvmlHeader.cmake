# Finds the vendor's own nvml.h, as the pip package nvidia-nvml-dev or a CUDA toolkit installs it.
# The package's folder carries the CUDA major, so its place is asked, not assumed. In a build that
# pip isolates, the interpreter that runs the build is the one that sees the package.
if(NOT NVML_INCLUDE_DIR)
  find_package(Python REQUIRED COMPONENTS Interpreter)
  execute_process(
    COMMAND "${Python_EXECUTABLE}" -c
            "import importlib.metadata as m; print(next(str(f.locate().parent.resolve()) for f in m.files('nvidia-nvml-dev') if f.name == 'nvml.h'))"
    OUTPUT_VARIABLE nvml_hint OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  find_path(NVML_INCLUDE_DIR nvml.h HINTS "${nvml_hint}" /usr/local/cuda/include)
endif()
if(NOT NVML_INCLUDE_DIR)
  message(FATAL_ERROR "nvml.h was not found: install it with `${Python_EXECUTABLE} -m pip install nvidia-nvml-dev`.")
endif()
