# Helper functions for the targets that use LLVM and MLIR.

set(GANQ_WARNINGS -Wall -Wextra -Werror -Wno-unused-parameter)


# add_ganq_library(Name source... [DEPENDS target...] [LINK_LIBS library...])
#
# A static library of ganq's own code against the MLIR dylib.
function(add_ganq_library name)
  cmake_parse_arguments(ARG "" "" "DEPENDS;LINK_LIBS" ${ARGN})
  add_library(${name} STATIC ${ARG_UNPARSED_ARGUMENTS})
  llvm_update_compile_flags(${name})
  target_compile_options(${name} PRIVATE ${GANQ_WARNINGS})
  if(ARG_DEPENDS)
    add_dependencies(${name} ${ARG_DEPENDS})
  endif()
  # The generated headers of all dialects and passes are cheap; every library
  # may include any of them.
  add_dependencies(${name} GanqHeaders)
  target_link_libraries(${name} PUBLIC MLIR LLVM ${ARG_LINK_LIBS})
  # Executables are compiled with -fPIE and cannot share it.
  target_precompile_headers(${name} REUSE_FROM GanqPch)
endfunction()

# add_ganq_tool(name source... [LINK_LIBS library...])
function(add_ganq_tool name)
  cmake_parse_arguments(ARG "" "" "LINK_LIBS" ${ARGN})
  add_executable(${name} ${ARG_UNPARSED_ARGUMENTS})
  llvm_update_compile_flags(${name})
  target_compile_options(${name} PRIVATE ${GANQ_WARNINGS})
  target_link_libraries(${name} PRIVATE ${ARG_LINK_LIBS} MLIR LLVM)
  add_dependencies(${name} GanqHeaders)
endfunction()

# ganq_tablegen_passes(Group): Passes.td of this folder to Passes.h.inc and a
# docs page.
function(ganq_tablegen_passes group)
  set(LLVM_TARGET_DEFINITIONS Passes.td)
  mlir_tablegen(Passes.h.inc -gen-pass-decls -name ${group})
  add_public_tablegen_target(Ganq${group}PassIncGen)
  add_dependencies(GanqHeaders Ganq${group}PassIncGen)
  mlir_tablegen(${group}Passes.md -gen-pass-doc)
  add_custom_target(Ganq${group}PassDoc DEPENDS ${CMAKE_CURRENT_BINARY_DIR}/${group}Passes.md)
  set_property(GLOBAL APPEND PROPERTY GANQ_DOCS ${CMAKE_CURRENT_BINARY_DIR}/${group}Passes.md)
endfunction()
