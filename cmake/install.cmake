# What `cmake --install` and the Debian package hold. The programs link no LibTorch (only tests do); everything else they need is a
# Debian package, or stands in ../lib beside them (the CUDA module), so that the tree may be moved.
set(haarflow_share share/haarflow)
set(haarflow_doc share/doc/haarflow)

install(TARGETS haarflow-trainer)
install(DIRECTORY deploy/models deploy/specs DESTINATION ${haarflow_share} PATTERN "__pycache__" EXCLUDE)
install(DIRECTORY proto/haarflow DESTINATION ${haarflow_share}/proto FILES_MATCHING PATTERN "*.proto")
install(DIRECTORY deploy/slurm deploy/prometheus deploy/grafana deploy/kubernetes DESTINATION ${haarflow_share} USE_SOURCE_PERMISSIONS
  PATTERN "__pycache__" EXCLUDE)
install(FILES README.md LICENSE DESTINATION ${haarflow_doc})
install(FILES LICENSE DESTINATION ${haarflow_doc} RENAME copyright)
foreach(page client/README.md server/README.md server/jobs/README.md core/model/README.md proto/README.md deploy/README.md
    deploy/operations.md)
  string(REPLACE "/README.md" ".md" name ${page})
  string(REPLACE "/" "-" name ${name})
  install(FILES ${page} DESTINATION ${haarflow_doc} RENAME ${name})
endforeach()

if(HAARFLOW_SERVICE)
  # The units name programs by their absolute paths, known only when the prefix is.
  foreach(unit haarflow-server.service haarflow-trainer.service)
    install(CODE "
      set(PREFIX \${CMAKE_INSTALL_PREFIX})
      configure_file(\"${CMAKE_SOURCE_DIR}/deploy/systemd/${unit}.in\"
        \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/lib/systemd/system/${unit}\" @ONLY)")
  endforeach()
  install(FILES deploy/systemd/gpu.conf deploy/systemd/README.md DESTINATION ${haarflow_share}/systemd)
endif()

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME haarflow)
set(CPACK_PACKAGE_CONTACT "the haarflow developers")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "exact lattice field configurations on demand")
set(CPACK_PACKAGE_DESCRIPTION "A server that draws exact lattice field configurations from trained flows, a trainer, and a command line.")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS openssl)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
include(CPack)
