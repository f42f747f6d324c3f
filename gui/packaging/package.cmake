# What `cmake --install` puts where, and the Debian package that `cpack` makes of it.
include(GNUInstallDirs)
set(packaging ${CMAKE_CURRENT_LIST_DIR})

# ---- Programs and what they look for at PREFIX/share/fovea (vlm/bundled.h) ---------------------
install(TARGETS fovea RUNTIME)
install(DIRECTORY ${CMAKE_SOURCE_DIR}/assets/models ${CMAKE_SOURCE_DIR}/assets/samples
        DESTINATION share/fovea)
install(FILES ${CMAKE_SOURCE_DIR}/README.md ${CMAKE_SOURCE_DIR}/LICENSE
              ${CMAKE_SOURCE_DIR}/assets/LICENSES.md ${packaging}/copyright
        DESTINATION ${CMAKE_INSTALL_DOCDIR})
if(TARGET fovea-gui)
  install(TARGETS fovea-gui RUNTIME)
  install(FILES ${packaging}/fovea-gui.desktop DESTINATION share/applications)
  install(FILES ${packaging}/fovea-gui.svg DESTINATION share/icons/hicolor/scalable/apps)
  install(FILES ${packaging}/fovea-gui.png DESTINATION share/icons/hicolor/256x256/apps)
endif()

# ---- Debian package ----------------------------------------------------------------------------
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME fovea)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_CONTACT "Fovea maintainers <maintainers@fovea.invalid>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "Ask about pictures and see where the model looked")
set(CPACK_PACKAGE_DESCRIPTION
    "Fovea runs vision-language models on this machine, makes their answers cheaper by\n\
 pruning visual tokens, and shows where a model looked and what was thrown away.\n\
 .\n\
 The package holds the command fovea, the viewer fovea-gui, two small models and\n\
 sample pictures. Nothing is fetched over the network.")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
    OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION graphics)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)  # Depends come from the programs themselves
include(CPack)
